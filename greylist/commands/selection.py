"""Which entries are meant: globs, networks, states and ages, the same for every command."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple

import click

from greylist.commands.entry import STATES
from greylist.settings import SettingsError, parse_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from greylist.commands.entry import Entry

    F = TypeVar("F", bound=Callable[..., Any])
    Test = Callable[[bytes], object]


def seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Return an option's time in seconds; as a callback of click."""
    try:
        return None if value is None else parse_time(value)
    except SettingsError as error:
        raise click.BadParameter(str(error)) from error


class Selection(NamedTuple):
    """What was asked for; every part that is given must hold.

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

    def test(self, now: int) -> Callable[[Entry], bool]:
        """Return the function that tells whether an entry is meant."""
        tests: list[Callable[[Entry], object]] = []
        if self.pattern:
            client, other = client_test(self.pattern), glob_test(self.pattern)
            tests.append(lambda e: client(e.client) or other(e.sender) or other(e.recipient))
        if self.client:
            by_client = client_test(self.client)
            tests.append(lambda e: by_client(e.client))
        if self.sender is not None:
            by_sender = glob_test(self.sender)
            tests.append(lambda e: e.recipient and by_sender(e.sender))
        if self.recipient:
            by_recipient = glob_test(self.recipient)
            tests.append(lambda e: by_recipient(e.recipient))
        if self.state:
            tests.append(lambda e: e.state in self.state)
        if self.older is not None:
            latest = now - self.older
            tests.append(lambda e: e.first <= latest)
        if self.newer is not None:
            earliest = now - self.newer
            tests.append(lambda e: e.first > earliest)
        return lambda entry: all(test(entry) for test in tests)


def glob_test(pattern: str) -> Test:
    """Return whether a text matches a shell's pattern; upper and lower case are the same.

    ``<>`` stands for the null sender. Without ``*``, ``?`` or ``[`` the whole text must match.
    """
    text = "" if pattern == "<>" else pattern
    translated = fnmatch.translate(text).encode("utf-8", "surrogateescape")
    return re.compile(translated, re.IGNORECASE | re.DOTALL).match


def client_test(pattern: str) -> Test:
    """Return whether a client matches a pattern: a glob, a network, or an address.

    An address also matches the network's address that stands for it in a key.
    """
    try:
        network = ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return glob_test(pattern)
    exact = "/" not in pattern

    def test(client: bytes) -> bool:
        try:
            address = ipaddress.ip_address(client.decode("ascii"))
        except ValueError:
            return False
        if exact:
            return network.network_address in _around(address)
        return address in network

    return test


def _around(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Any:
    """Return the network for which an address ending in zeros may stand, or just itself."""
    number, most = int(address), 8 if address.version == 4 else 64
    bits = 0
    while bits < most and not number >> bits & 1:
        bits += 1
    prefix = address.max_prefixlen - (bits if bits == most else 0)
    return ipaddress.ip_network((number, prefix))


_OPTIONS = (
    click.option("--client", metavar="GLOB", help="The client: a glob, an address or a network."),
    click.option("--sender", metavar="GLOB", help="The sender; <> is the null sender."),
    click.option("--recipient", metavar="GLOB", help="The recipient."),
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
    return click.argument("pattern", required=False)(function)
