"""What mail that has passed elsewhere is worth here: known senders, and trust of clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.importers.rows import Row
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
    service knows of its clients counts too; but there hosts are counted, and here networks.
    """
    senders: dict[tuple[bytes, bytes], _Credit] = {}
    clients: dict[bytes, _Credit] = {}
    for row in rows:
        if row.kind not in {"senders", "clients"}:
            yield row
        entry = row.entry
        if not row.client or now - entry.last_seen > settings.max_age:
            continue
        if row.kind in {"triplets", "masked"} and not entry.has_passed(settings.delay):
            continue
        if row.kind in {"triplets", "senders"}:
            senders.setdefault((row.client, row.sender), _Credit()).add(entry)
        credit = clients.setdefault(row.client, _Credit())
        credit.add(entry)
        if row.kind == "clients":
            credit.count = max(credit.count, entry.count)
        elif row.kind == "domains":
            credit.more += 1  # sqlgrey has seen two senders of it pass (group_domain_level)
    for (client, sender), credit in senders.items():
        yield Row("senders", sender_key(client, sender), entry=credit.entry())
    for client, credit in clients.items():
        yield Row("clients", client_key(client), entry=credit.entry())
