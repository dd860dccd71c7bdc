"""Deleting what has expired, in steps: a few entries at a time, and where the last step ended.

record :== since "/" last "/" key

since is the time from which on the clock has run evenly, last that of the last step, both in
seconds since the epoch; key is the last one that was looked at, none after the end.
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

MINUTE = 60
HOUR = 3600
PAUSE = 2 * 86400
"""Seconds between two new entries from which on the clock may have jumped."""


def purge(entries: Ordered, position: bytes, count: int, is_stale: IsStale) -> tuple[bytes, int]:
    """Delete what is stale of the entries that follow a key.

    Args:
        entries: what is stored.
        position: the key to go on from; none at first.
        count: how many entries to look at.
        is_stale: tells from a key and a value whether the entry has no more use.

    Returns:
        The key to go on from, none after the last entry, and how many entries were deleted.
    """
    found = entries.after(position, count)
    stale = [name for name, value in found if is_stale(name, value)]
    for name in stale:
        entries.delete(name)
    return (found[-1][0] if len(found) == count else b""), len(stale)


def purge_step(entries: Ordered, added: list[bytes], now: int, is_stale: IsStale) -> None:
    """Run a purge step for new entries: for one key in EVERY, and at least once a minute.

    Args:
        entries: what is stored.
        added: the keys of the new entries.
        now: seconds since the epoch.
        is_stale: tells from a key and a value whether the entry has no more use.
    """
    since, last, position = _unpack(entries.get(RECORD))
    # Not 0: who read the clock first may have been the last to get the lock.
    even = -MINUTE < now - last <= PAUSE
    steps = sum(not sum(key) % EVERY for key in added)
    if even and now - last < MINUTE and not steps:
        return
    if not even:
        since = now
    # Under a clock that has just jumped ahead everything would seem to have expired.
    if now - since >= HOUR:
        position, _ = purge(entries, position, STEP * max(1, steps), is_stale)
    entries.put(RECORD, b"%d/%d/%s" % (since, now, position), 0)


def _unpack(value: bytes | None) -> tuple[int, int, bytes]:
    """Return what a record says; one that does not parse says that nothing was done yet."""
    since, last, position = (*(value or b"").split(b"/", 2), b"", b"")[:3]
    if not (since.isdigit() and last.isdigit() and len(since) + len(last) <= 40):
        return 0, 0, b""
    return int(since), int(last), position
