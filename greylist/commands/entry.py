"""One entry of the database, as a person sees it."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands import output
from greylist.expiry import STATES, state_of
from greylist.triplet import CLIENT, Triplet, split_credit, split_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings


class Entry(NamedTuple):
    """An entry of a triplet, or of a client's, a sender's or a user's credit.

    Attributes:
        key: what it is stored under.
        state: one of STATES.
        client, sender, recipient: of a triplet; a client's credit has no sender, a sender's no
            recipient, and a user's no client.
        first: the time of the first attempt, in seconds since the epoch.
        last: the time of the last attempt.
        attempts: how often the client tried, the first time included; of a credit, how many
            triplets have passed.
        passed: whether a triplet has been let through, be it expired since.
    """

    key: bytes
    state: str
    client: bytes
    sender: bytes
    recipient: bytes
    first: int
    last: int
    attempts: int
    passed: bool

    @property
    def is_triplet(self) -> bool:
        """Whether it is about a triplet."""
        return not self.key.startswith(b"/")

    @property
    def has_sender(self) -> bool:
        """Whether it is about a sender, be it the null sender."""
        return not self.key.startswith(CLIENT)


def entries(stored: Iterable[tuple[bytes, bytes]], settings: Settings, now: int) -> Iterator[Entry]:
    """Yield the stored entries, without the policy's own bookkeeping."""
    for key, value in stored:
        entry = entry_of(key, value, settings, now)
        if entry:
            yield entry


def entry_of(key: bytes, value: bytes, settings: Settings, now: int) -> Entry | None:
    """Return the entry of a key and value, or None for the policy's own bookkeeping."""
    state = state_of(key, value, settings, now)
    if state not in STATES:
        return None
    credit = key.startswith(b"/")
    try:
        triplet = Triplet.unpack(value)
        parts = split_credit(key) if credit else split_key(key)
    except ValueError:
        return None
    attempts = triplet.count + (not credit)
    passed = not credit and triplet.has_passed(settings.delay)
    return Entry(key, state, *parts, triplet.ctime, triplet.last_seen, attempts, passed)


def network_of_key(
    client: bytes, settings: Settings
) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Return the network for which the client of a key stands, or None if it is no address.

    An address that is not the first of its network, of other settings or of greylist.pl, stands
    for itself.
    """
    try:
        address = ipaddress.ip_address(client.decode("ascii"))
    except ValueError:
        return None
    prefix = settings.ipv4_prefix if address.version == 4 else settings.ipv6_prefix
    bits = address.max_prefixlen - prefix
    whole = int(address) >> bits << bits == int(address)
    return ipaddress.ip_network((int(address), prefix if whole else address.max_prefixlen))


def client_text(client: bytes, settings: Settings) -> str:
    """Return a client for people: its network, its address, or its domain."""
    network = network_of_key(client, settings)
    if network is None:
        return output.text(client)
    return str(network if network.num_addresses > 1 else network.network_address)
