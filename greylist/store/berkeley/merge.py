"""Two versions of an entry, one of them salvaged: which one is kept.

The rule: the database goes on as if it had never been damaged. A client that came while its
entry was not there was taken for a new one, so what it did then is added to the old entry.
"""

from __future__ import annotations

from greylist.triplet import Triplet

DAY = 86400


def merged(key: bytes, salvaged: bytes, live: bytes | None, now: int) -> bytes | None:
    """Return what is to be stored under a key, or nothing when the database has it already.

    Args:
        key: of a triplet, or of another kind of entry, which starts with a slash.
        salvaged: a value read from a damaged database, which may be anything.
        live: the value in the database, if any.
        now: seconds since the epoch; no entry can be from a later day.
    """
    if key.startswith(b"/"):
        return salvaged if live is None else None
    old = _valid(key, salvaged, now)
    if old is None:
        return None
    if live is None:
        return old.pack()
    try:
        new = Triplet.unpack(live)
    except ValueError:
        return old.pack()
    result = _join(old, new).pack()
    return None if result == live else result


def _valid(key: bytes, value: bytes, now: int) -> Triplet | None:
    if key.count(b"/") < 2:
        return None
    try:
        triplet = Triplet.unpack(value)
    except ValueError:
        return None
    return triplet if max(triplet.ctime, triplet.atime) <= now + DAY else None


def _join(old: Triplet, new: Triplet) -> Triplet:
    if new.last_seen <= old.last_seen:
        return old
    # A first attempt without a second is forgotten after some time, and must not come back.
    if new.ctime <= old.ctime or not (old.atime or new.ctime - old.ctime < DAY):
        return new
    return Triplet(old.ctime, new.last_seen, old.count + new.count + 1)
