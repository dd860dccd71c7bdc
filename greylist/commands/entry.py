"""One entry of the database, as a person sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from greylist.expiry import state_of
from greylist.triplet import CLIENT, Triplet, split_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings

STATES = ("waiting", "passed", "trusted", "expired")
"""What an entry may be; all else is the policy's own bookkeeping and not shown."""


class Entry(NamedTuple):
    """An entry of a triplet, or of a trusted client.

    Attributes:
        key: what it is stored under.
        state: one of STATES.
        client, sender, recipient: of a triplet; a trusted client has no sender or recipient.
        first: the time of the first attempt, in seconds since the epoch.
        last: the time of the last attempt.
        attempts: how often the client tried, the first time included; of a trusted client,
            how many of its triplets have passed.
    """

    key: bytes
    state: str
    client: bytes
    sender: bytes
    recipient: bytes
    first: int
    last: int
    attempts: int


def entries(stored: Iterable[tuple[bytes, bytes]], settings: Settings, now: int) -> Iterator[Entry]:
    """Yield what is stored as entries; what is neither a triplet nor a client is left out."""
    for key, value in stored:
        entry = entry_of(key, value, settings, now)
        if entry:
            yield entry


def entry_of(key: bytes, value: bytes, settings: Settings, now: int) -> Entry | None:
    """Return the entry that is stored so, or nothing when it is no person's business."""
    state = state_of(key, value, settings, now)
    if state not in STATES:
        return None
    try:
        triplet = Triplet.unpack(value)
        client = key.startswith(CLIENT)
        parts = (key[len(CLIENT) :], b"", b"") if client else split_key(key)
    except ValueError:
        return None
    attempts = triplet.count + (not client)
    return Entry(key, state, *parts, triplet.ctime, triplet.last_seen, attempts)
