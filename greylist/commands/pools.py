"""The triplets of pools, which stand beside those of clients under a key that tells nothing.

A client with a verified name begins two triplets at once: its own, and its pool's, by which a retry
from elsewhere is known (``policy``). The key of the second one is a digest, so no selector finds
it; what is done to the first has to be done to it, or the next attempt would be judged by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.addresses import parse_address
from greylist.expiry import is_triplet, parsed
from greylist.store.batches import walk
from greylist.triplet import POOL, pool_key, split_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from greylist.commands.entry import Entry
    from greylist.store import Store

MOST = 100_000
"""Keys that are tried at most: it takes a second or two."""


def pools_of(store: Store, chosen: Collection[Entry]) -> dict[bytes, int | None]:
    """Return the keys of the pools' triplets that go with chosen entries.

    With a triplet goes the pool's one that began in the same second; where a triplet that is not
    chosen began then too, the pool may be that one's, and is left alone. With the credit of a
    domain's sender go the pools' triplets of that sender to all recipients in the store.

    Args:
        store: is read once, or not at all if no pool can go with them.
        chosen: entries.

    Returns:
        The keys, each with the time of the first attempt, in seconds since the epoch; None for a
        key that is certain, but need not be there.

    Raises:
        StoreError: the store cannot be read.
    """
    triplets = {entry.key: entry.first for entry in chosen if entry.is_triplet}
    senders = [(entry.client, entry.sender) for entry in chosen if _is_domains(entry)]
    if not triplets and not senders:
        return {}
    began = set(triplets.values())
    recipients = {entry.recipient for entry in chosen if entry.is_triplet}
    found: dict[bytes, int | None] = {}
    doubtful: set[int | None] = set()
    for key, value in walk(store):
        first = first_attempt(value) if is_triplet(key) else None
        if first is None:
            continue
        is_pools = key.startswith(POOL)
        if not is_pools and key.count(b"/") > 1:
            recipients.add(split_key(key)[2])
        if first in began and key not in triplets:
            if is_pools:
                found[key] = first
            else:
                doubtful.add(first)
    found = {key: first for key, first in found.items() if first not in doubtful}
    if len(senders) * len(recipients) <= MOST:
        found |= {pool_key(*sender, to): None for sender in senders for to in recipients}
    return found


def _is_domains(entry: Entry) -> bool:
    """Return whether an entry is the credit of a domain's sender, who is not the domain itself."""
    is_credit = not entry.is_triplet and bool(entry.client and entry.sender)
    return is_credit and not entry.sender.startswith(b"@") and parse_address(entry.client) is None


def first_attempt(value: bytes | None) -> int | None:
    """Return when a stored triplet began, in seconds since the epoch; None if it is none."""
    triplet = parsed(value)
    return triplet.ctime if triplet else None
