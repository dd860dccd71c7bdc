"""Deleting expired entries in steps, a few at a time; a record says where the last step ended.

record :== since "/" last "/" [seen "," total "/"] key

since is the time from which on the clock has run evenly, last that of the last step, both in
seconds since the epoch; key is the last one that was looked at, none after the end. Each round
through the database counts the entries that stay: seen so far, and total in the last whole round.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from greylist.store import Entries

    IsStale = Callable[[bytes, bytes], bool]

    class Ordered(Entries, Protocol):
        """Entries in the order of their keys."""

        def after(self, key: bytes, count: int, /) -> list[tuple[bytes, bytes]]:
            """Return at most ``count`` entries whose keys follow this one, in order."""


RECORD = b"/purge"
"""Where the record is stored."""

EVERY = 8
STEP = 32
"""One in eight new entries pays for a look at 32: four each, in fewer writes."""

COUNT_STEP = 512
"""Entries that are looked at each time when they are counted and are too many: a millisecond."""

MINUTE = 60
HOUR = 3600
PAUSE = 2 * 86400
"""Seconds between two new entries from which on the clock may have jumped."""


def purge(
    entries: Ordered, position: bytes, count: int, is_stale: IsStale
) -> tuple[bytes, int, int]:
    """Delete the stale ones of the entries that follow a key.

    Args:
        entries: what is stored.
        position: the key to go on from; none at first.
        count: how many entries to look at.
        is_stale: tells from a key and a value whether the entry has no more use.

    Returns:
        The key to go on from, none after the last entry; how many entries were deleted, and how
        many stay.
    """
    found = entries.after(position, count)
    stale = [name for name, value in found if is_stale(name, value)]
    for name in stale:
        entries.delete(name)
    next = found[-1][0] if len(found) == count else b""
    return next, len(stale), len(found) - len(stale)


def steps_for(added: list[bytes]) -> int:
    """Return how many steps are due for new entries, whose keys these are."""
    return sum([not sum(key) % EVERY for key in added])


def purge_step(entries: Ordered, steps: int, now: int, is_stale: IsStale) -> int:
    """Run some purge steps in one, and one at least once a minute.

    Args:
        entries: what is stored.
        steps: how many are due.
        now: seconds since the epoch.
        is_stale: tells from a key and a value whether the entry has no more use.

    Returns:
        The time of the last step: for a minute from then on, none is due for the time alone.
    """
    progress = Progress(entries.get(RECORD))
    # Not 0: who read the clock first may have been the last to get the lock.
    even = -MINUTE < now - progress.last <= PAUSE
    if even and now - progress.last < MINUTE and not steps:
        return progress.last
    if not even:
        progress.since = now
    progress.last = now
    progress.look(entries, STEP * max(1, steps), is_stale)
    entries.put(RECORD, progress.pack(), 0)
    return now


def count_entries(entries: Ordered, now: int, most: int, is_stale: IsStale) -> int:
    """Return about how many entries there are; when there are too many, go on purging for it.

    Otherwise nobody would: what is refused is not stored, and pays for nothing.

    Args:
        entries: what is stored.
        now: seconds since the epoch.
        most: how many entries there may be.
        is_stale: tells from a key and a value whether the entry has no more use.
    """
    progress = Progress(entries.get(RECORD))
    if progress.count >= most and -MINUTE < now - progress.last <= PAUSE:
        progress.last = max(progress.last, now)
        progress.look(entries, COUNT_STEP, is_stale)
        entries.put(RECORD, progress.pack(), 0)
    return progress.count


class Progress:
    """How far the purging has come: the record, whose form stands above.

    Attributes:
        since, last: times, in seconds since the epoch.
        seen, total: numbers of entries that stay.
        position: the key to go on from, none before the first entry.
    """

    def __init__(self, record: bytes | None) -> None:
        """Read a record; one that does not parse counts as none."""
        self.since = self.last = self.seen = self.total = 0
        self.position = b""
        since, last, rest = (*(record or b"").split(b"/", 2), b"", b"")[:3]
        if not (since.isdigit() and last.isdigit() and len(since) + len(last) <= 40):
            return
        self.since, self.last, self.position = int(since), int(last), rest
        counts, slash, position = rest.partition(b"/")
        seen, _, total = counts.partition(b",")
        if slash and seen.isdigit() and total.isdigit() and len(counts) <= 40:
            self.seen, self.total, self.position = int(seen), int(total), position

    def pack(self) -> bytes:
        """Return the record."""
        fields = self.since, self.last, self.seen, self.total, self.position
        return b"%d/%d/%d,%d/%s" % fields

    @property
    def count(self) -> int:
        """About how many entries there are."""
        return max(self.seen, self.total)

    def look(self, entries: Ordered, count: int, is_stale: IsStale) -> None:
        """Go on through some entries, count them, and delete what is stale."""
        # Under a clock that has just jumped ahead everything would seem to have expired.
        if self.last - self.since < HOUR:
            is_stale = _never
        self.position, _, kept = purge(entries, self.position, count, is_stale)
        self.seen += kept
        if not self.position:
            self.seen, self.total = 0, self.seen


def _never(key: bytes, value: bytes) -> bool:
    return False
