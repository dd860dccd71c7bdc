"""The life of an entry: waiting, passed, expired or trusted; when it is stale; how two merge."""

from __future__ import annotations

from greylist.triplet import CLIENT, DAY, INSTANCE, POOL, Triplet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.settings import Settings


class Rules:
    """What a store is told about entries; it follows the settings that it holds.

    Attributes:
        settings: those in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def is_stale(self, key: bytes, value: bytes, now: int) -> bool:
        """Return whether an entry has no more use and can be deleted."""
        return is_stale(key, value, self.settings, now)

    def merge(self, key: bytes, salvaged: bytes, live: bytes | None, now: int) -> bytes | None:
        """Return the value to store for two versions of an entry; None: leave the live one."""
        return merged(key, salvaged, live, now)

    def arguments(self) -> list[str]:
        """Return the settings that the rules depend on as ``name=value``."""
        names = ("mode", "delay", "retry_window", "max_age", "auto_whitelist")
        return [f"{name}={getattr(self.settings, name)}" for name in names]


def state_of(name: bytes, value: bytes, settings: Settings, now: int) -> str:
    """Return the state of an entry: waiting, passed, expired, trusted or other.

    ``other`` is what is about no triplet and no trusted client. A triplet that a request would
    ignore, since it does not parse, is expired.
    """
    client = name.startswith(CLIENT)
    if name.startswith(b"/") and not client:
        return "other"
    try:
        triplet = Triplet.unpack(value)
    except ValueError:
        return "expired"
    if client:
        trusted = 0 < settings.auto_whitelist <= triplet.count
        expired = now - triplet.last_seen > settings.max_age
        return "expired" if expired else "trusted" if trusted else "other"
    if is_expired(triplet, settings, now):
        return "expired"
    return "waiting" if triplet.is_waiting(settings.delay) else "passed"


def keep(name: bytes, value: bytes, settings: Settings, now: int) -> int:
    """Return for how many seconds an entry is kept from now on, 0 if it is stale already."""
    if name.startswith(INSTANCE):
        return DAY
    if name.startswith(POOL):
        name = name[len(POOL) :].lstrip(b"/")
    state = state_of(name, value, settings, now)
    if state == "expired":
        return 0
    return settings.retry_window if state == "waiting" else settings.max_age


def is_stale(name: bytes, value: bytes, settings: Settings, now: int) -> bool:
    """Return whether an entry has no more use and can be deleted."""
    if name.startswith(INSTANCE):
        return not (value.isdigit() and len(value) <= 20 and abs(now - int(value)) <= DAY)
    if name.startswith(POOL):
        name = name[len(POOL) :].lstrip(b"/")  # what expires is the triplet that is stored there
    return state_of(name, value, settings, now) == "expired"


def is_expired(triplet: Triplet, settings: Settings, now: int) -> bool:
    """Return whether a triplet was seen too long ago to count.

    One from a future clock has a negative age, and is kept: it heals when it is used. While
    learning, nobody is asked to retry, so nobody is late.
    """
    waiting = triplet.is_waiting(settings.delay) and settings.mode != "learn"
    return now - triplet.last_seen > (settings.retry_window if waiting else settings.max_age)


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
