"""The life of an entry: its state, when it is stale, and how two versions of it merge.

- A triplet is waiting from its first attempt on, for ``retry_window`` after the last one. Once
  it is let through it has passed, whatever the settings say later, and is kept for ``max_age``
  after it was last seen.
- A credit counts what a client (``/client/``) or a client's sender (``/sender/``) has let through.
  With ``auto_whitelist`` the client is trusted, with ``auto_whitelist_senders`` the sender is
  known, for ``max_age`` after it was last seen.
- A reply (``/reply/``) is expected for ``max_age`` after a user's last mail to its sender.
- A pool's entry (``/pool/``) is a triplet; an instance (``/instance/``) is kept for a day.

What is later than all that is expired: no rule looks at it any more, and it can be deleted.
"""

from __future__ import annotations

from greylist.triplet import CLIENT, DAY, INSTANCE, POOL, REPLY, SENDER, Triplet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.settings import Settings

STATES = ("waiting", "passed", "known", "trusted", "credited", "reply", "expired")
"""The states of entries; ``other`` is the policy's own bookkeeping."""


class Rules:
    """What a store is told about entries; it follows the settings that it holds.

    Attributes:
        settings: those in force.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def is_stale(self, key: bytes, value: bytes, now: int) -> bool:
        """Return whether an entry has expired and can be deleted."""
        return is_stale(key, value, self.settings, now)

    def merge(self, key: bytes, salvaged: bytes, live: bytes | None, now: int) -> bytes | None:
        """Return the value to store for two versions of an entry; None: leave the live one."""
        return merge(key, salvaged, live, self.settings, now)

    def arguments(self) -> list[str]:
        """Return the settings that the rules depend on as ``name=value``."""
        names = "mode delay retry_window max_age auto_whitelist auto_whitelist_senders".split()
        return [f"{name}={getattr(self.settings, name)}" for name in names]


def state_of(key: bytes, value: bytes, settings: Settings, now: int) -> str:
    """Return the state of an entry: one of STATES, or ``other``.

    What a request would ignore, since it does not parse, is expired.
    """
    if key.startswith(POOL) or not _is_counted(key):
        return "other"
    try:
        entry = Triplet.unpack(value)
    except ValueError:
        return "expired"
    if is_expired(key, entry, settings, now):
        return "expired"
    if key.startswith(b"/"):
        return _state_of_credit(key, entry, settings)
    return "passed" if entry.has_passed(settings.delay) else "waiting"


def _state_of_credit(key: bytes, credit: Triplet, settings: Settings) -> str:
    if key.startswith(REPLY):
        return "reply"
    client = key.startswith(CLIENT)
    needed = settings.auto_whitelist if client else settings.auto_whitelist_senders
    if not 0 < needed <= credit.count:
        return "credited"
    return "trusted" if client else "known"


def is_expired(key: bytes, entry: Triplet, settings: Settings, now: int) -> bool:
    """Return whether an entry was seen too long ago to count.

    One from a future clock has a negative age, and is kept: it heals when it is used.
    """
    age = now - (entry.atime or entry.ctime)
    # Most are young, and the retry window is the shorter one (Settings.check).
    return age > settings.retry_window and age > _window(key, entry, settings)


def _window(key: bytes, entry: Triplet, settings: Settings) -> int:
    """Return for how many seconds an entry counts after it was last seen.

    While learning, nobody is asked to retry, so nobody is late.
    """
    waits = is_triplet(key) and not entry.has_passed(settings.delay)
    late = waits and settings.mode != "learn"
    return settings.retry_window if late else settings.max_age


def keep(key: bytes, value: bytes, settings: Settings, now: int) -> int:
    """Return for how many seconds from now on an entry is still kept, 0 if it is stale already."""
    if is_stale(key, value, settings, now):
        return 0
    if not _is_counted(key):
        return DAY
    entry = Triplet.unpack(value)  # one that does not parse is stale
    return entry.last_seen + _window(key, entry, settings) - now + 1


def is_stale(key: bytes, value: bytes, settings: Settings, now: int) -> bool:
    """Return whether an entry has expired and can be deleted."""
    if key.startswith(b"/"):  # most are triplets
        if key.startswith(INSTANCE):
            return not (value.isdigit() and len(value) <= 20 and abs(now - int(value)) <= DAY)
        if not _is_counted(key):
            return False
    entry = parsed(value)
    return entry is None or is_expired(key, entry, settings, now)


def merge(
    key: bytes, other: bytes, live: bytes | None, settings: Settings, now: int
) -> bytes | None:
    """Return the value to store for two versions of an entry; None: leave the live one.

    What is expired, or no value at all, is dropped first. Then the older first attempt, the
    newer last one and the larger count hold, and a triplet has passed if it has in either: the
    entry goes on as if both had always been one. Two that wait join only if the second began
    while the first was still waiting; otherwise the newer holds.

    Args:
        key: of an entry of any kind.
        other: a value from a dump or another database, or salvaged from a damaged one: anything.
        live: the value in the database, if any.
        settings: how long an entry counts.
        now: seconds since the epoch; no entry can be from a later day.
    """
    if key.startswith(b"/") and not _is_counted(key):
        return other if live is None else None
    new = _valid(key, other, now)
    if new is None or other == live:
        return None
    old = parsed(live)
    # Without another version, what is expired is left to the purging, which minds the clock.
    if old is None or (old.ctime > now + DAY and is_triplet(key)):
        return new.pack()
    if is_expired(key, new, settings, now):
        return None
    if is_expired(key, old, settings, now):
        return new.pack()
    joined = _join(old, new, settings) if is_triplet(key) else _sum(old, new)
    packed = joined.pack()
    return None if packed == live else packed


def _is_counted(key: bytes) -> bool:
    """Return whether an entry's value is ``ctime/atime/count``."""
    return is_triplet(key) or key.startswith((CLIENT, SENDER, REPLY))


def is_triplet(key: bytes) -> bool:
    """Return whether an entry is a triplet, a client's or a pool's."""
    return not key.startswith(b"/") or key.startswith(POOL)


def _valid(key: bytes, value: bytes, now: int) -> Triplet | None:
    """Return an entry that was read somewhere, or None when it cannot be one of ours."""
    entry = parsed(value) if key.count(b"/") >= 2 else None
    return entry if entry and max(entry.ctime, entry.atime) <= now + DAY else None


def parsed(value: bytes | None) -> Triplet | None:
    """Return a stored value, or None if there is none that can be used."""
    try:
        return None if value is None else Triplet.unpack(value)
    except ValueError:
        return None


def _join(one: Triplet, other: Triplet, settings: Settings) -> Triplet:
    """Return one triplet for two of the same key, both of which count."""
    first, second = sorted((one, other), key=lambda triplet: triplet.ctime)
    passed = first.has_passed(settings.delay) or second.has_passed(settings.delay)
    if not passed and second.ctime - first.last_seen > settings.retry_window:
        return second
    joined = _sum(first, second)
    if joined.atime:
        joined.count = max(joined.count, 1)  # the second's first attempt was a retry
    joined.passed = passed
    return joined


def _sum(one: Triplet, other: Triplet) -> Triplet:
    """Return the older first attempt, the newer last one, the larger count."""
    first, last = min(one.ctime, other.ctime), max(one.last_seen, other.last_seen)
    # With no delay, the retry may come within the second of the first attempt.
    again = last > first or one.atime or other.atime
    return Triplet(first, last if again else 0, max(one.count, other.count))
