"""The database's figures about the mail, behind ``stats`` and ``metrics``."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.entry import entries
from greylist.commands.session import kept
from greylist.expiry import STATES
from greylist.store.batches import walk
from greylist.triplet import DAY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.commands.entry import Entry
    from greylist.settings import Settings

DAYS = 14
"""How many days back the new triplets are counted one by one."""

DELAYS = (300, 600, 1200, 2400, 3600, 7200, 14400, 43200)
"""Upper bounds of the histogram of delays, in seconds; the last class has none."""

QUANTILES = (("median", 0.5), ("90 %", 0.9), ("99 %", 0.99), ("worst", 1.0))


class Figures:
    """Counts of entries.

    Attributes:
        now: the time of the count, in seconds since the epoch.
        states: how many entries there are in each of STATES.
        days: new triplets by days back from now: 0 is the last 24 hours; and how many of them
            have passed.
        settled: of the triplets first seen between a half and a whole retry window ago, all
            of which are still kept: how many there are, and how many have never passed.
        old: of the triplets first seen more than a retry window ago, as far as they are not
            purged: how many there are, and how many have never passed.
        delays: of the triplets that passed at their first retry and were not used since, the
            seconds between the two, in order. Of others the database does not tell.
        clients, senders, recipients: triplets by client, by sender's domain, by recipient.
        bytes: the size of the database.
        log_bytes: the size of its log and shared regions.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        settings: Settings,
        now: int,
        sizes: tuple[int, int] = (0, 0),
        *,
        ranked: bool = True,
    ) -> None:
        """Count entries.

        Args:
            entries: the first ones.
            settings: tell the states.
            now: seconds since the epoch.
            sizes: the bytes of the database, and of its log and cache.
            ranked: whether to count by client, sender and recipient too, which takes memory.
        """
        self._ranked = ranked
        self.now = now
        self.window = settings.retry_window
        self.states = dict.fromkeys(STATES, 0)
        self.days = [[0, 0] for _ in range(DAYS)]
        self.settled = [0, 0]
        self.old = [0, 0]
        self.delays: list[int] = []
        self.clients: Counter[bytes] = Counter()
        self.senders: Counter[bytes] = Counter()
        self.recipients: Counter[bytes] = Counter()
        self.bytes, self.log_bytes = sizes
        self.count(entries)

    def count(self, entries: Iterable[Entry]) -> None:
        """Count further entries."""
        for entry in entries:
            self.states[entry.state] += 1
            if entry.is_triplet:
                self._add(entry)
        self.delays.sort()

    def _add(self, entry: Entry) -> None:
        age = self.now - entry.first
        passed = entry.passed
        if self._ranked:
            self.clients[entry.client] += 1
            self.senders[entry.sender.rpartition(b"@")[2]] += 1
            self.recipients[entry.recipient] += 1
        if 0 <= age < DAYS * DAY:
            self.days[age // DAY][0] += 1
            self.days[age // DAY][1] += passed
        if self.window // 2 <= age:
            cohort = self.settled if age <= self.window else self.old
            cohort[0] += 1
            cohort[1] += not passed
        if passed and entry.attempts == 2:
            self.delays.append(entry.last - entry.first)

    def quantile(self, share: float) -> int | None:
        """Return the delay that this share of the triplets did not exceed, in seconds."""
        return quantile(self.delays, share)

    def histogram(self) -> list[int]:
        """Return how many delays there are in each class of DELAYS, and above."""
        classes = [0] * (len(DELAYS) + 1)
        for delay in self.delays:
            classes[sum(delay > bound for bound in DELAYS)] += 1
        return classes


def quantile(values: list[int], share: float) -> int | None:
    """Return the value that this share of sorted values does not exceed, if there is any."""
    if not values:
        return None
    # Nearest rank: a value that occurred, not one between two.
    return values[max(0, math.ceil(share * len(values)) - 1)]


def delay_labels() -> list[str]:
    """Return the names of the classes of delays."""
    names = [output.duration(bound) for bound in DELAYS]
    return [f"to {name}" for name in names] + [f"over {names[-1]}"]


def gather(settings: Settings) -> Figures:
    """Return the figures of the database as it is.

    Raises:
        StoreError: it cannot be used.
    """
    now = int(time.time())
    database = kept(settings)
    with database.opened() as store:
        stored = output.progress(walk(store), "Reading")
        return Figures(entries(stored, settings, now), settings, now, database.sizes())
