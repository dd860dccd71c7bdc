"""An entry of another service as an entry of ours, or the reason why it is left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from greylist.addresses import network, parse_address
from greylist.sender import normalize
from greylist.triplet import Triplet, key

if TYPE_CHECKING:
    from greylist.settings import Settings

PASSED = 2
"""The count of a triplet that has passed, when is not known: with 1, its times would be a delay."""

READABLE = (
    "postgrey's, sqlgrey's, greylist.pl's and milter-greylist's databases, iRedAPD's as SQL, and "
    "what spamdb prints"
)
"""The kinds of files that can be imported, for messages."""

LEARN = "start with mode = learn for a few days instead"
"""The way out if no entry can be taken over, for messages."""

_MASKED = re.compile(rb"(?<!\w)#(?!\w)|RCPT")
_NUMBER, _RECIPIENT = b"1234567", b"rcpt=example.invalid"


class ForeignError(Exception):
    """A file that cannot be imported; the text says why, and what to do instead."""


class Row(NamedTuple):
    """The outcome for one entry of another service.

    Attributes:
        kind: ``triplets``, ``senders`` and ``clients`` have an entry here; any other kind says
            why it has none.
        key: the key it has here, if it has one already.
        origin: how the entry reads there, for those that have none here.
        client: the client's identity here.
        sender: the sender's normal form.
        entry: the times; the count of a client is how often it has passed.
    """

    kind: str
    key: bytes = b""
    origin: bytes = b""
    client: bytes = b""
    sender: bytes = b""
    entry: Triplet = Triplet(0)


def unknown(*origin: bytes) -> Row:
    """Return the row of an entry that is not understood."""
    return Row("unknown", origin=b" = ".join(origin))


def triplet_row(
    address: bytes, sender: bytes, recipient: bytes, triplet: Triplet, settings: Settings
) -> Row:
    """Return the entry of a triplet of an address, of which the settings make a network."""
    client = identity(address, settings)
    if not client:
        return unknown(address + b"/" + sender + b"/" + recipient, triplet.pack())
    sender = normal(sender, settings)
    name = key(client, sender, recipient)
    return Row("triplets", name, client=client, sender=sender, entry=triplet)


def client_row(address: bytes, count: int, last: int, settings: Settings) -> Row:
    """Return the row of a client, ``count`` of whose triplets have passed, one last then."""
    client = identity(address, settings)
    if not (client and count and last):
        return unknown(address, b"%d,%d" % (count, last))
    return Row("clients", client=client, entry=Triplet(last, count=count))


def identity(address: bytes, settings: Settings) -> bytes:
    """Return the network of an address in text; empty when it is no address."""
    if parse_address(address) is None:
        return b""
    return network(address, settings.ipv4_prefix, settings.ipv6_prefix).lower()


def normal(sender: bytes, settings: Settings) -> bytes:
    """Return a sender as it stands in our keys."""
    return normalize(sender) if settings.normalize_sender else sender.lower()


def unmask(sender: bytes, settings: Settings) -> bytes | None:
    """Return one of the senders that another service's normal form stands for.

    postgrey and sqlgrey put ``#`` for numbers, sqlgrey RCPT for the recipient. Where our normal
    form leaves out the same, all those senders have one normal form; else none is returned.
    """
    if not _MASKED.search(sender):
        return sender
    whole = _MASKED.sub(lambda mask: _NUMBER if mask[0] == b"#" else _RECIPIENT, sender)
    form = normal(whole, settings)
    return None if _NUMBER in form or _RECIPIENT in form else whole
