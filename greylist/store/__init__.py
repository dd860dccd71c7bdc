"""Where the entries are kept: one short transaction a request, under one lock."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    T = TypeVar("T")

    class Entries(Protocol):
        """What is stored, as one transaction sees it."""

        def get(self, key: bytes, /) -> bytes | None:
            """Return the value of a key, or nothing."""

        def put(self, key: bytes, value: bytes, /) -> None:
            """Store a value under a key."""

        def delete(self, key: bytes, /) -> None:
            """Delete a key, which need not be there."""

        def after(self, key: bytes, count: int, /) -> list[tuple[bytes, bytes]]:
            """Return at most ``count`` entries whose keys follow this one, in order."""

    class Store(Protocol):
        """A place for entries that many processes share."""

        def transact(self, function: Callable[[Entries], T], /) -> T:
            """Return what the function returns, its changes being stored as one.

            The function may run more than once; only its last run counts.

            Raises:
                StoreError: nothing was changed.
            """

        def close(self) -> None:
            """Let go of the store; it is of no use afterwards."""

    class Lock(Protocol):
        """Exclusive between processes, and released by the kernel when its holder dies."""

        def acquire(self) -> None:
            """Wait for the lock.

            Raises:
                StoreError: it could not be had in time.
            """

        def release(self) -> None:
            """Let the next one have the lock."""


class StoreError(Exception):
    """The store cannot be used; the text says why, and what mends it."""
