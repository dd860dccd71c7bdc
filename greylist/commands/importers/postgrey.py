"""postgrey's entries. It keeps two BTrees in one environment.

postgrey.db          :== client "/" sender "/" recipient -> first "," last ["," host]
postgrey_clients.db  :== address ["/" prefix] -> count "," last

client is ``192.0.2.0`` to version 1.35 and from 1.37 on, ``192.0.2.0/24`` in 1.36, and
``192.0.2.7/32`` with ``--lookup-by-host``. An IPv6 address has all its eight groups. With
``--privacy`` keys are SHA-1 sums in hexadecimal. Times are in seconds since the epoch.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.addresses import parse_address
from greylist.commands.importers.rows import (
    PASSED,
    Row,
    client_row,
    identity,
    triplet_row,
    unknown,
    unmask,
)
from greylist.triplet import Triplet
from greylist.whitelist.networks import parse_network

if TYPE_CHECKING:
    from greylist.settings import Settings

FILE, CLIENTS = "postgrey.db", "postgrey_clients.db"

_HASHED = re.compile(rb"[0-9a-f]{40}")
_VALUE = re.compile(rb"(\d{1,12}),(\d{1,12})(?:,.*)?", re.DOTALL)
_PREFIX = re.compile(rb"([^/]+)/(\d{1,3})(/.*)?", re.DOTALL)


def is_value(value: bytes) -> bool:
    """Return whether a value is of postgrey's form."""
    return _VALUE.fullmatch(value) is not None


def translate(name: bytes, value: bytes, settings: Settings) -> Row:
    """Return an entry of postgrey's as ours."""
    numbers = _VALUE.fullmatch(value)
    if _HASHED.fullmatch(name) or numbers is None:
        return unknown(name, value) if numbers is None else Row("hashed")
    first, last = int(numbers[1]), int(numbers[2])
    client, prefix, rest = _client(name)
    if not rest:
        return client_row(client, first, last, settings)
    return _mail(name, client + rest, prefix, _triplet(first, last, settings), settings)


def _mail(name: bytes, text: bytes, prefix: int, triplet: Triplet, settings: Settings) -> Row:
    """Return a triplet, whose key without a prefix is this text."""
    parts = split(text) if triplet.ctime else None
    if parts is None:
        return unknown(name, triplet.pack())
    address, written, recipient = parts
    if prefix and prefix < _ours(address, settings):
        return Row("wide", origin=name)
    sender = unmask(written, settings)
    if sender is None:
        return Row("masked", origin=name, client=identity(address, settings), entry=triplet)
    return triplet_row(address, sender, recipient, triplet, settings)


def _client(name: bytes) -> tuple[bytes, int, bytes]:
    """Return the address of a key, its prefix length (0: none) and the rest with its slash.

    ``192.0.2.0/24/b@example.org`` has no prefix, but a sender without a domain.
    """
    found = _PREFIX.fullmatch(name)
    if found and (found[3] is None or found[3].count(b"/") > 1):
        try:
            parse_network(found[1] + b"/" + found[2])
        except ValueError:
            pass
        else:
            return found[1], int(found[2]), found[3] or b""
    client, slash, rest = name.partition(b"/")
    return client, 0, slash + rest


def _ours(client: bytes, settings: Settings) -> int:
    bits = (parse_address(client) or (0, 0))[1]
    return settings.ipv4_prefix if bits == 32 else settings.ipv6_prefix


def _triplet(first: int, last: int, settings: Settings) -> Triplet:
    if last - first >= settings.delay:
        return Triplet(first, last, PASSED, passed=True)
    return Triplet(first, last, 1) if last > first else Triplet(first)


def split(name: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return client, sender and recipient of a key in which no slash is escaped.

    The first slash that leaves an address on either side, or none on the left, is taken for
    the one between sender and recipient.
    """
    address, _, rest = name.partition(b"/")
    places = [place for place, code in enumerate(rest) if code == 0x2F]
    if not (address and places):
        return None
    for place in places:
        sender, recipient = rest[:place], rest[place + 1 :]
        if (not sender or b"@" in sender) and b"@" in recipient:
            return address, sender, recipient
    sender, _, recipient = rest.partition(b"/")
    return (address, sender, recipient) if recipient else None
