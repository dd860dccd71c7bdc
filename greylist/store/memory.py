"""Stores that are thrown away: for asking what the policy would do, without doing it."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from greylist.store import Entries, Entry, Get, T


class MemoryStore:
    """Entries in memory: a store of one process, and what its transactions see."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        """Args: entries: what is stored at first."""
        self._values: dict[bytes, bytes] = dict(entries)
        self._keys = sorted(self._values)

    def transact(self, function: Callable[[Entries], T], hint: Iterable[bytes] = ()) -> T:
        """Return what the function returns."""
        return function(self)

    def scan(self, cursor: bytes, count: int) -> tuple[bytes, list[Entry]]:
        """Return the next batch of entries, in the order of their keys, and where to go on."""
        start = bisect_right(self._keys, cursor)
        keys = self._keys[start : start + count]
        return (keys[-1] if len(keys) == count else b""), [(k, self._values[k]) for k in keys]

    def count(self, most: int) -> int:
        """Return how many entries there are."""
        return len(self._values)

    def close(self) -> None:
        """Close no file: the entries go with the object."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        return self._values.get(key)

    def put(self, key: bytes, value: bytes, keep: int) -> None:
        """Store a value under a key."""
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        """Delete a key, which need not be there."""
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_right(self._keys, key) - 1]


class Overlay:
    """Changes over entries that stay as they are.

    Attributes:
        looked_up: the keys that were read, in order, with what was found.
        changes: the values that would be stored; None stands for a deletion.
    """

    def __init__(self, get: Get) -> None:
        """Args: get: reads the entries below."""
        self._get = get
        self.looked_up: list[tuple[bytes, bytes | None]] = []
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        value = self.changes[key] if key in self.changes else self._get(key)
        self.looked_up.append((key, value))
        return value

    def put(self, key: bytes, value: bytes, keep: int) -> None:
        """Remember that a value would be stored."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remember that a key would be deleted."""
        self.changes[key] = None
