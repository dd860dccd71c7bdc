"""One server with our entries: read, compare and set, scan."""

from __future__ import annotations

from greylist.store.valkey.connection import REDISCOVER, Connection
from greylist.store.valkey.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from greylist.store import Entry
    from greylist.store.valkey.secrets import Secrets
    from greylist.store.valkey.url import Address

    Change = tuple[bytes, bytes, bytes, bytes]
    """A key; what is expected, what is to be stored, and for how many seconds: see SCRIPT."""

PREFIX = b"greylist:"

SCAN_MOST = 500
"""Keys that the server looks at for one batch of a scan: about half a millisecond."""

ANY = b"?"
"""In a change: whatever is there; or leave it."""

SCRIPT = b"""\
-- Compare and set. For each key three arguments: what is expected, what is to be stored ("=value",
-- empty for no entry, "?" for anything or nothing), and the seconds to keep it.
for i, key in ipairs(KEYS) do
  local expected = ARGV[3 * i - 2]
  if expected ~= '?' then
    local value = redis.call('GET', key)
    if expected ~= (value and '=' .. value or '') then
      local found = {}
      for n, other in ipairs(KEYS) do found[n] = redis.call('GET', other) end
      return found
    end
  end
end
for i, key in ipairs(KEYS) do
  local value = ARGV[3 * i - 1]
  if value == '' then redis.call('DEL', key)
  elseif value ~= '?' then redis.call('SET', key, string.sub(value, 2), 'EX', ARGV[3 * i]) end
end
return 1
"""


class SingleServer:
    """One server: given, or found by its Sentinels.

    Attributes:
        asking: whether a cluster's keys may be asked for that only move there.
    """

    def __init__(self, address: Address, secrets: Secrets) -> None:
        """Args: address: of the server or its Sentinels; secrets: who we are there."""
        find, self._tries = None, 1
        if address.kind == "sentinel":
            from greylist.store.valkey.sentinel import master  # late: only Sentinels need it

            find, self._tries = (lambda deadline: master(address, secrets, deadline)), 2
        self._connection = Connection(address, secrets, find)
        self._digest = b""
        self.asking = False

    @staticmethod
    def stored(key: bytes) -> bytes:
        """Return one of our keys as it stands on the server."""
        return PREFIX + key

    @staticmethod
    def ours(stored: bytes) -> bytes:
        """Return the key of ours that stands so on the server."""
        return stored[len(PREFIX) :]

    def read(self, keys: Sequence[bytes], deadline: float) -> list[bytes | None]:
        """Return the values of keys, all of one moment."""
        found: list[bytes | None] = self.ask(deadline, b"MGET", *map(self.stored, keys))
        return found

    def swap(self, changes: list[Change], deadline: float) -> list[bytes | None] | None:
        """Store changes if all is as expected, and return None; otherwise what there is."""
        rest: list[bytes] = [b"%d" % len(changes), *[self.stored(change[0]) for change in changes]]
        for change in changes:
            rest += change[1:]
        try:
            found = self.ask(deadline, b"EVALSHA", self._script(), *rest)
        except Refused as error:
            if error.code != "NOSCRIPT":
                raise
            found = self.ask(deadline, b"EVAL", SCRIPT, *rest)
        return None if found == 1 else list(found)

    def scan(self, cursor: bytes, count: int, deadline: float) -> tuple[bytes, list[Entry]]:
        """Return some entries, and where to go on."""
        size = b"%d" % min(count, SCAN_MOST)
        every = PREFIX + b"*"
        cursor, keys = self.ask(deadline, b"SCAN", cursor or b"0", b"MATCH", every, b"COUNT", size)
        # Not MGET: the keys of a cluster's server are of many slots. An error is about a key that
        # has just moved to another server, or is none of ours.
        values = self._connection.ask([(b"GET", key) for key in keys], deadline) if keys else []
        entries = [
            (self.ours(key), value)
            for key, value in zip(keys, values, strict=True)
            if isinstance(value, bytes)
        ]
        return b"" if cursor == b"0" else cursor, entries

    def servers(self, deadline: float) -> list[SingleServer]:
        """Return this server."""
        return [self]

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def ask(self, deadline: float, *command: bytes) -> Any:
        """Return the reply to a command.

        Raises:
            Unavailable: there is none, or it is an error.
        """
        for _ in range(self._tries - 1):
            try:
                return self._connection.one(deadline, *command)
            except Refused as error:
                if error.code not in REDISCOVER:
                    raise
                self._connection.close()  # it is the master no more: its Sentinels know who is
        if self.asking:
            self._connection.ask([(b"ASKING",)], deadline)
        return self._connection.one(deadline, *command)

    def _script(self) -> bytes:
        if not self._digest:
            from _sha1 import sha1  # not hashlib, which loads OpenSSL; late: only a write needs it

            self._digest = sha1(SCRIPT).hexdigest().encode()
        return self._digest
