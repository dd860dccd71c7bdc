"""Which entries are meant: globs, networks, states and ages, the same for every command."""

from __future__ import annotations

import fnmatch
import ipaddress
import os
import re
from typing import TYPE_CHECKING, NamedTuple

import click

from greylist.addresses import parse_address
from greylist.client import organization
from greylist.commands.entry import network_of_key
from greylist.expiry import STATES
from greylist.log import unquote
from greylist.recipient import delivered
from greylist.sender import normalize
from greylist.settings import SettingsError, parse_time
from greylist.triplet import stands_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from greylist.commands.entry import Entry
    from greylist.settings import Settings

    F = TypeVar("F", bound=Callable[..., Any])
    Test = Callable[[bytes], object]


def seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Return an option's time in seconds; as a callback of click."""
    try:
        return None if value is None else parse_time(value)
    except SettingsError as error:
        raise click.BadParameter(str(error)) from error


class Selection(NamedTuple):
    """The entries that were asked for; every part that is given must hold.

    Attributes:
        pattern: matches the client, the sender or the recipient.
        older, newer: the age of the first attempt, in seconds.
    """

    pattern: str | None
    client: str | None
    sender: str | None
    recipient: str | None
    state: tuple[str, ...]
    older: int | None
    newer: int | None

    def __bool__(self) -> bool:
        """Return whether anything was asked for, so that not everything is meant."""
        return any(part or part == 0 for part in self)

    def test(self, now: int, settings: Settings) -> Callable[[Entry], bool]:
        """Return the function that tells whether an entry is meant."""
        tests: list[Callable[[Entry], object]] = []
        if self.pattern:
            client = client_test(self.pattern, settings)
            sender, recipient = sender_test(self.pattern, settings), recipient_test(self.pattern)
            tests.append(
                lambda e: (
                    (e.client and client(e.client))
                    or (e.has_sender and sender(e.sender))
                    or (e.recipient and recipient(e.recipient))
                )
            )
        if self.client:
            by_client = client_test(self.client, settings)
            tests.append(lambda e: e.client and by_client(e.client))
        if self.sender:
            by_sender = sender_test(self.sender, settings)
            tests.append(lambda e: e.has_sender and by_sender(e.sender))
        if self.recipient:
            by_recipient = recipient_test(self.recipient)
            tests.append(lambda e: e.recipient and by_recipient(e.recipient))
        if self.state:
            tests.append(lambda e: e.state in self.state)
        if self.older is not None:
            latest = now - self.older
            tests.append(lambda e: e.first <= latest)
        if self.newer is not None:
            earliest = now - self.newer
            tests.append(lambda e: e.first > earliest)
        return lambda entry: all(test(entry) for test in tests)


_ESCAPE = re.compile(rb"\\\\|\\x[0-9a-fA-F]{2}")


def _literal(escape: re.Match[bytes]) -> bytes:
    """Return a glob that matches the one character for which an escape stands."""
    character = unquote(escape[0])
    return b"[%s]" % character if character in b"*?[" else character


def glob_test(pattern: str, form: Callable[[bytes], bytes] = bytes) -> Test:
    """Return whether a text matches a shell's pattern; upper and lower case are the same.

    ``<>`` stands for the null sender. What list or the log shows matches just what it shows:
    escaped characters stand for themselves. Without ``*``, ``?`` or ``[`` the whole text must
    match, or be the form of the pattern that keys hold, or the clipped form of either.

    Args:
        pattern: as a person types it, or copies it from a list or the log.
        form: returns the form that keys hold of what the log shows.
    """
    written = b"" if pattern == "<>" else os.fsencode(pattern)
    shown = unquote(written)
    glob = os.fsdecode(_ESCAPE.sub(_literal, written))
    translated = fnmatch.translate(glob).encode("utf-8", "surrogateescape")
    match = re.compile(translated, re.IGNORECASE | re.DOTALL).match
    forms = {shown, form(shown)}
    return lambda text: (
        match(text) or text in forms or any(stands_for(text, whole) for whole in forms)
    )


def sender_test(pattern: str, settings: Settings) -> Test:
    """Return whether a sender matches a pattern: a glob, or an address as the log shows it."""
    return glob_test(pattern, normalize if settings.normalize_sender else bytes)


def recipient_test(pattern: str) -> Test:
    """Return whether a recipient matches a pattern: a glob, or an address as the log shows it."""
    return glob_test(pattern, delivered)


def client_test(pattern: str, settings: Settings) -> Test:
    """Return whether a client matches a pattern: a glob, a network, an address or a host's name.

    A client is a network too, if the settings make its address stand for one, and matches when
    the two have an address in common. A host's name stands for its organisational domain too.
    """
    try:
        wanted = _network(pattern)
    except ValueError:
        return glob_test(pattern, domain_of)

    def test(client: bytes) -> bool:
        network = network_of_key(client, settings)
        return network is not None and wanted.overlaps(network)

    return test


def domain_of(name: bytes) -> bytes:
    """Return the organisational domain for which a host's name stands, or empty bytes."""
    return organization({b"client_name": name, b"client_address": b"unknown"})


def _network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network that a text names; an address, which may be IPv4 as IPv6, is one.

    Raises:
        ValueError: it names none.
    """
    address = parse_address(os.fsencode(pattern))
    if address is None:
        return ipaddress.ip_network(pattern, strict=False)
    number, bits = address
    return ipaddress.ip_network(number.to_bytes(bits // 8))


def _given(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Refuse an empty text, such as a shell's variable that is not set; as a callback of click."""
    if value == "":
        raise click.BadParameter("it is empty (the null sender is <>)")
    return value


_OPTIONS = (
    click.option(
        "--client",
        metavar="GLOB",
        callback=_given,
        help="The client: a glob, an address, a network or a host's name.",
    ),
    click.option(
        "--sender", metavar="GLOB", callback=_given, help="The sender; <> is the null sender."
    ),
    click.option("--recipient", metavar="GLOB", callback=_given, help="The recipient."),
    click.option(
        "--state", type=click.Choice(STATES), multiple=True, help="The state; may be repeated."
    ),
    click.option(
        "--older",
        metavar="TIME",
        callback=seconds,
        help="First seen at least this long ago, such as 2d.",
    ),
    click.option(
        "--newer", metavar="TIME", callback=seconds, help="First seen less than this long ago."
    ),
)


def selectors(function: F) -> F:
    """Add ``PATTERN`` and the options of a selection to a command."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return click.argument("pattern", required=False, callback=_given)(function)
