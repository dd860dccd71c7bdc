"""Entries in memory that a test looks into."""

from __future__ import annotations


class Memory(dict):
    """Entries as a transaction sees them, in a dictionary."""

    def put(self, key, value, keep):
        assert keep >= 0
        self[key] = value

    def delete(self, key):
        self.pop(key, None)

    def after(self, key, count):
        return [(name, self[name]) for name in sorted(self) if name > key][:count]

    @property
    def triplets(self):
        """The entries that are triplets."""
        return {key: value for key, value in self.items() if not key.startswith(b"/")}
