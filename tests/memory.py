"""Entries in memory, for what is a function of them."""

from __future__ import annotations


class Memory(dict):
    """A dictionary with the store's way of asking."""

    def put(self, key: bytes, value: bytes) -> None:
        """Store a value."""
        self[key] = value

    def delete(self, key: bytes) -> None:
        """Delete a key, which need not be there."""
        self.pop(key, None)

    def after(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Return the entries that follow, in order."""
        return sorted((name, self[name]) for name in self if name > key)[:count]

    @property
    def triplets(self) -> dict[bytes, bytes]:
        """The entries that are no other kind's."""
        return {name: value for name, value in self.items() if not name.startswith(b"/")}
