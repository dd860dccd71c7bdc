"""The store in Valkey or Redis: read, decide, and write if nothing has changed meanwhile.

A transaction is one trip to the server for what it reads, and a second one if it writes. The
second one is a script that compares and sets; on a conflict it answers what is there now, and
the function runs again with that. Entries expire by the server's clock.
"""

from __future__ import annotations

import time

from greylist.native import extension
from greylist.store import StoreAway, StoreError
from greylist.store.valkey.errors import Refused, Unavailable
from greylist.store.valkey.outage import Outage
from greylist.store.valkey.secrets import Secrets
from greylist.store.valkey.server import ANY, SingleServer
from greylist.store.valkey.url import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol

    from greylist.log import Log
    from greylist.settings import Settings
    from greylist.store import Entries, Entry, Rules, T
    from greylist.store.valkey.server import Change

    class Server(Protocol):
        """One server, or a cluster, as the store uses it."""

        def read(self, keys: Sequence[bytes], deadline: float, /) -> list[bytes | None]:
            """Return the values of keys."""

        def swap(self, changes: list[Change], deadline: float, /) -> list[bytes | None] | None:
            """Store changes if all is as expected, and return None; otherwise what there is."""

        def scan(self, cursor: bytes, count: int, deadline: float, /) -> tuple[bytes, list[Entry]]:
            """Return some entries, and where to go on."""

        def servers(self, deadline: float, /) -> list[SingleServer]:
            """Return each server that has entries."""

        def close(self) -> None:
            """Hang up."""


DEADLINE = 0.5
"""Seconds that a request may take in all, connecting included."""


class _Entries:
    """The entries as one run of a function sees and changes them."""

    __slots__ = ("_fetch", "changes", "known", "read")

    def __init__(self, fetch: Callable[[bytes], bytes | None], known: dict[bytes, Any]) -> None:
        self._fetch = fetch
        self.known = known
        self.read: set[bytes] = set()
        self.changes: dict[bytes, tuple[bytes | None, int]] = {}

    def get(self, key: bytes) -> bytes | None:
        if key in self.changes:
            return self.changes[key][0]
        if key not in self.known:
            self.known[key] = self._fetch(key)
        self.read.add(key)
        value: bytes | None = self.known[key]
        return value

    def put(self, key: bytes, value: bytes, keep: int) -> None:
        """Store a value for this many seconds; for none, it is stale and goes."""
        self.changes[key] = (value if keep > 0 else None), keep

    def delete(self, key: bytes) -> None:
        self.changes[key] = None, 0

    def swap(self) -> list[Change]:
        """Return what has to be as it was read, and what is to be stored."""
        changes = []
        for key in self.read | self.changes.keys():
            expected, stored, keep = ANY, ANY, 0
            if key in self.read:
                expected = _written(self.known[key])
            if key in self.changes:
                value, keep = self.changes[key]
                stored = _written(value)
            changes.append((key, expected, stored, b"%d" % keep))
        return changes


def _written(value: bytes | None) -> bytes:
    return b"" if value is None else b"=" + value


class ValkeyStore:
    """The entries on a server, shared by any number of hosts."""

    def __init__(
        self, server: Server, name: str, outage: Outage | None = None, patience: float = DEADLINE
    ) -> None:
        """Open nothing yet.

        Args:
            server: where the entries are.
            name: the database's, for errors.
            outage: what the filters of this host know of its being away; commands do not ask.
            patience: how long a transaction may take, in seconds.
        """
        self._server = server
        self._name = name
        self._outage = outage
        self._patience = patience

    def transact(self, function: Callable[[Entries], T], hint: Iterable[bytes] = ()) -> T:
        """Return what the function returns, its changes being stored as one.

        Args:
            function: reads and changes entries; runs again when another one was faster.
            hint: keys that it will ask for: they are fetched in one trip.

        Raises:
            StoreAway: the server cannot be used now; what was changed is lost, or stored if only
                the answer was lost.
        """
        deadline = time.monotonic() + self._patience
        return self._guarded(lambda: self._transact(function, list(hint), deadline))

    def _transact(self, function: Callable[[Entries], T], keys: list[bytes], deadline: float) -> T:
        server = self._server

        def fetch(key: bytes) -> bytes | None:
            return server.read([key], deadline)[0]

        known = dict(zip(keys, server.read(keys, deadline), strict=True)) if keys else {}
        while True:
            entries = _Entries(fetch, known)
            result = function(entries)
            if not entries.changes:
                return result
            changes = entries.swap()
            present = server.swap(changes, deadline)
            if present is None:
                return result
            if time.monotonic() > deadline:
                raise Unavailable("others were always faster")
            known.update(zip([change[0] for change in changes], present, strict=True))

    def scan(self, cursor: bytes, count: int) -> tuple[bytes, list[Entry]]:
        """Return a batch of entries, in no order, and where to go on; a key may come twice.

        Raises:
            StoreAway: the server cannot be used now.
        """
        deadline = time.monotonic() + self._patience
        return self._guarded(lambda: self._server.scan(cursor, count, deadline))

    def count(self, most: int) -> int:
        """Return how many keys the servers have, other programs' included; 0 if we may not know.

        Raises:
            StoreAway: a server cannot be used now.
        """
        deadline = time.monotonic() + self._patience

        def count() -> int:
            try:
                sizes = [one.ask(deadline, b"DBSIZE") for one in self._server.servers(deadline)]
            except Refused:
                return 0  # to this user, which is no outage
            return sum(map(int, sizes))

        return self._guarded(count)

    def _guarded(self, function: Callable[[], T]) -> T:
        outage = self._outage
        if outage and outage.lasts():
            raise StoreAway(f"{self._name}: away a moment ago")
        try:
            result = function()
        except Unavailable as error:
            reason = f"{self._name}: {error}"
            if outage:
                outage.began(reason)
            raise StoreAway(reason) from error
        if outage:
            outage.ended()
        return result

    def close(self) -> None:
        """Hang up."""
        self._server.close()


def open_store(settings: Settings, log: Log, rules: Rules, load: Callable[[], None]) -> ValkeyStore:
    """Return the store of a filter, which is not connected yet.

    Args:
        settings: name the database.
        log: hears when it is away, and when it is back.
        rules: are not needed: entries expire by the server's clock.
        load: is not needed: nobody becomes another user.
    """
    server, name = reach(settings)
    return ValkeyStore(server, name, Outage(settings.database, log))


def reach(settings: Settings) -> tuple[Server, str]:
    """Return the server that the settings name, and its name for people.

    Raises:
        StoreError: a package is missing.
    """
    address = parse(settings.database)
    secrets = Secrets(
        settings.database_password_file,
        settings.database_ca_file,
        settings.database_certificate_file,
    )
    if address.kind == "cluster":
        from greylist.store.valkey.cluster import Cluster  # late: only a cluster needs it

        return Cluster(address, secrets), str(address)
    try:
        extension("hiredis", "hiredis")
    except ImportError as error:
        from greylist.missing import remedy  # late: most have it

        raise StoreError(f"{address}: {remedy(error)}") from error
    return SingleServer(address, secrets), str(address)
