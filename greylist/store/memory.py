"""Entries that are thrown away: for asking what the policy would do, without doing it."""

from __future__ import annotations

from bisect import bisect_right, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greylist.store import Entries


class Scratch:
    """A database in memory."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or nothing."""
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value under a key."""
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        """Delete a key, which need not be there."""
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_right(self._keys, key) - 1]

    def after(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Return at most ``count`` entries whose keys follow this one, in order."""
        start = bisect_right(self._keys, key)
        return [(name, self._values[name]) for name in self._keys[start : start + count]]


class Overlay:
    """Changes over entries that stay as they are.

    Attributes:
        looked_up: what was read, in order, with what was found.
        changes: what would be stored; nothing stands for a deletion.
    """

    def __init__(self, below: Entries) -> None:
        self._below = below
        self.looked_up: list[tuple[bytes, bytes | None]] = []
        self.changes: dict[bytes, bytes | None] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key, or nothing."""
        value = self.changes[key] if key in self.changes else self._below.get(key)
        self.looked_up.append((key, value))
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Remember that a value would be stored."""
        self.changes[key] = value

    def delete(self, key: bytes) -> None:
        """Remember that a key would be deleted."""
        self.changes[key] = None

    def after(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Return at most ``count`` entries whose keys follow this one, in order."""
        wanted = count + sum(value is None for value in self.changes.values())
        below = self._below.after(key, wanted)
        merged = {name: value for name, value in below if name not in self.changes}
        merged |= {n: v for n, v in self.changes.items() if n > key and v is not None}
        return sorted(merged.items())[:count]
