"""Credit for mail that has passed elsewhere: known senders, and trusted clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.importers.rows import Row
from greylist.public_suffix import organizational_domain
from greylist.triplet import Triplet, client_key, sender_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings

_MOST = 1000
"""Passes that are counted at most."""


class _Credit:
    """When mail first and last came, and in which hours of the first attempts it passed."""

    __slots__ = ("count", "first", "hours", "last", "more")

    def __init__(self) -> None:
        self.first = self.last = self.count = self.more = 0
        self.hours: tuple[int, ...] = ()

    def add(self, entry: Triplet) -> None:
        """Count a pass, at most one an hour."""
        hour = entry.ctime // 3600
        if hour not in self.hours and len(self.hours) < _MOST:
            self.hours += (hour,)
        self.first = min(self.first or entry.ctime, entry.ctime)
        self.last = max(self.last, entry.last_seen)

    def entry(self) -> Triplet:
        """Return the entry of ours."""
        count = max(self.count, len(self.hours) + self.more)
        return Triplet(self.first, self.last if self.last > self.first else 0, count)


def credited(rows: Iterable[Row], settings: Settings, now: int) -> Iterator[Row]:
    """Yield the rows, and behind them one for each known sender and each client.

    A sender whose mail a client has retried is known, as if it had been here. What the other
    service knows of its clients counts too; but there hosts are counted, and here networks. Of a
    sender's domain that is known there, all senders are known from the domain's own servers: a
    client whose name is verified in it, for which the client's entry of that name stands.
    """
    credits = _Credits()
    for row in rows:
        if row.kind not in {"senders", "clients"}:
            yield row
        waits = row.kind in {"triplets", "masked"} and not row.entry.has_passed(settings.delay)
        if row.client and not waits and now - row.entry.last_seen <= settings.max_age:
            credits.add(row)
    yield from credits.rows()


class _Credits:
    """Those of all senders and clients."""

    def __init__(self) -> None:
        self._senders: dict[tuple[bytes, bytes], _Credit] = {}
        self._clients: dict[bytes, _Credit] = {}

    def add(self, row: Row) -> None:
        """Count mail that has passed, or the passes that the other service has counted."""
        client = self._client(row.client, row.entry)
        if row.kind in {"triplets", "senders"}:
            self._sender(row.client, row.sender, row.entry)
        elif row.kind == "clients":
            client.count = max(client.count, row.entry.count)
        elif row.kind == "domains":
            client.more += 1  # sqlgrey has seen two senders of it pass (group_domain_level)
            domain = _organization(row.sender)
            if domain:
                self._client(domain, row.entry)
                self._sender(domain, b"@" + domain, row.entry)

    def _client(self, client: bytes, entry: Triplet) -> _Credit:
        credit = self._clients.setdefault(client, _Credit())
        credit.add(entry)
        return credit

    def _sender(self, client: bytes, sender: bytes, entry: Triplet) -> None:
        self._senders.setdefault((client, sender), _Credit()).add(entry)

    def rows(self) -> Iterator[Row]:
        """Yield their entries."""
        for (client, sender), credit in self._senders.items():
            yield Row("senders", sender_key(client, sender), entry=credit.entry())
        for client, credit in self._clients.items():
            yield Row("clients", client_key(client), entry=credit.entry())


def _organization(domain: bytes) -> bytes:
    """Return the organisational domain of a sender's domain; empty when it has none."""
    return organizational_domain(domain) if all(domain.split(b".")) else b""
