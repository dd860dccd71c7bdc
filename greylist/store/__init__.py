"""Where the entries are kept: what a store is; ``opening`` says which one a database's name means.

A store knows no policy: what is stale and how two versions of an entry merge is told to it by
the ``Rules`` that its opener hands over.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import Protocol, TypeVar

    T = TypeVar("T")
    Get = Callable[[bytes], bytes | None]
    Entry = tuple[bytes, bytes]

    class Entries(Protocol):
        """The stored entries, as one transaction sees them."""

        def get(self, key: bytes, /) -> bytes | None:
            """Return the value of a key, or None."""

        def put(self, key: bytes, value: bytes, keep: int, /) -> None:
            """Store a value under a key, to be kept for this many seconds at least."""

        def delete(self, key: bytes, /) -> None:
            """Delete a key, which need not be there."""

    class Store(Protocol):
        """A place for entries that many processes share."""

        def transact(self, function: Callable[[Entries], T], hint: Iterable[bytes] = (), /) -> T:
            """Return what the function returns, its changes being stored as one.

            The function may run more than once; only its last run counts.

            Args:
                function: reads and changes entries.
                hint: keys that the function will ask for, as far as they are known before.

            Raises:
                StoreError: nothing was changed.
            """

        def scan(self, cursor: bytes, count: int, /) -> tuple[bytes, list[Entry]]:
            """Return the next batch of all entries, in any order, and where to go on.

            An entry that stays is seen at least once; one that comes, changes or goes meanwhile
            may be seen as it was or as it is.

            Args:
                cursor: empty at first, then what the last call returned; empty after the end.
                count: how many entries to return at most.

            Raises:
                StoreError: the store cannot be read.
            """

        def count(self, most: int, /) -> int:
            """Return about how many entries there are.

            Args:
                most: how many there may be; a store that does not expire them by itself may look
                    for what has expired if there are more.

            Raises:
                StoreError: the store cannot be read.
            """

        def close(self) -> None:
            """Let go of the store; it cannot be used afterwards."""

    class Rules(Protocol):
        """What the policy tells a store about its entries."""

        def is_stale(self, key: bytes, value: bytes, now: int, /) -> bool:
            """Return whether an entry has expired and can be deleted."""

        def merge(
            self, key: bytes, salvaged: bytes, live: bytes | None, now: int, /
        ) -> bytes | None:
            """Return the value to store for two versions of an entry; None: leave the live one."""

        def arguments(self) -> list[str]:
            """Return the settings behind the rules as ``name=value``, for another process."""

    Fact = tuple[str, str, str, str]  # level, subject, what was found, what mends it
    Wording = tuple[Callable[[int], str], Callable[[int], str]]  # of a size, of a time

    class Inspection(Protocol):
        """One look at a database, which changes nothing.

        Attributes:
            readable: whether there is one whose entries can be read; known after ``before``.
        """

        readable: bool

        def before(self) -> Iterator[Fact]:
            """Yield the facts that are known before the entries are read."""

        def unread(self, error: StoreError, /) -> Fact:
            """Return the fact that the entries could not be read, with its remedy."""

        def after(self, number: int, /) -> Iterator[Fact]:
            """Yield the facts that are known after this number of entries has been read."""

    class Maintenance(Protocol):
        """What the commands ask of a store beside its entries.

        Attributes:
            expires_by_itself: whether what has expired goes without anybody's doing.
        """

        expires_by_itself: bool

        def opened(
            self, create: bool = False, adopt: bool = False
        ) -> AbstractContextManager[Store]:
            """Open the store for a while; with ``create``, it need not exist.

            With ``adopt``, one that another program made is taken over.

            Raises:
                StoreError: it cannot be used, or does not exist.
            """

        def exists(self) -> bool:
            """Return whether there is a database.

            Raises:
                StoreError: this user may not know.
            """

        def acting(self) -> AbstractContextManager[None]:
            """Act as the user as whom the filter uses the store, for a while."""

        def backup(self, recover: bool = True) -> AbstractContextManager[Iterator[Entry]]:
            """Yield the entries as of one moment, while requests go on, from a copy.

            Args:
                recover: whether a store that has to be made ready for use first may be; otherwise
                    nothing is changed.

            Raises:
                StoreError: they cannot be read.
            """

        def purge(self, now: int) -> Iterator[int]:
            """Delete the stale entries in short batches; yield how many in each."""

        def sizes(self) -> tuple[int, int]:
            """Return the bytes of the database, and of its log and cache."""


class StoreError(Exception):
    """The store cannot be used; the text says why, and what mends it."""


class StoreGone(StoreError):
    """The store has to be opened anew: as it is open now, it cannot be used any more."""


class StoreSpent(StoreGone):
    """The process that has the store open cannot use it any more; another one can."""


class StoreAway(StoreError):
    """A shared store cannot be reached just now: mail is not held up for that."""
