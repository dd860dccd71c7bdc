"""The mail from outside in any number of log files: one reader for every command."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from greylist.addresses import parse_address
from greylist.commands import output
from greylist.commands.logs.files import in_order, opened
from greylist.commands.logs.maillog import Reader
from greylist.commands.logs.mynetworks import Networks, configured

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from greylist.commands.logs.files import LogFile
    from greylist.commands.logs.maillog import Attempt, Read

    F = TypeVar("F", bound=Callable[..., Any])


class Mail(NamedTuple):
    """The mail in logs.

    Attributes:
        attempts: to send mail from outside, in the order of their times.
        own: attempts from this machine itself and from its own networks, which are left out.
        logins: attempts with a login, which are left out.
        untold: messages that were refused of whose recipients the log does not tell.
        lines, unread: how many lines there were, and how many of them were not understood.
    """

    attempts: list[Attempt]
    own: int
    logins: int
    untold: int
    lines: int
    unread: int

    @property
    def left_out(self) -> str:
        """How many attempts were not looked at, and why; empty if all were."""
        kinds = (
            (self.own, "from this machine and mynetworks"),
            (self.logins, "with a login"),
            (self.untold, "refused after DATA without a word of their recipients"),
        )
        return ", ".join(f"{number} {words}" for number, words in kinds if number)

    def require(self) -> None:
        """End the command with status 1, saying so, if there are no attempts."""
        if not self.attempts:
            left_out = f" Left out: {self.left_out}." if self.left_out else ""
            click.echo(f"There is no mail from outside in the logs.{left_out}", err=True)
            raise click.exceptions.Exit(1)


def mynetworks_option(function: F) -> F:
    """Add ``--mynetworks`` to a command that reads logs."""
    option = click.option(
        "--mynetworks",
        metavar="NETWORKS",
        help="Leave out clients in these networks, in Postfix's form. "
        "[default: what postconf says of the Postfix here]",
    )
    return option(function)


def read_mail(paths: tuple[str, ...], mynetworks: str | None = None) -> Mail:
    """Return the mail in logs; on standard error, say which lines were not understood.

    Args:
        paths: of the logs in any order, plain or packed; ``-`` is standard input.
        mynetworks: whose clients are left out; by default, those of this machine's Postfix.

    Raises:
        click.ClickException: one cannot be read.
    """
    here, always_bcc = configured()
    networks = Networks(here if mynetworks is None else mynetworks)
    if networks.unread:
        items = ", ".join(networks.unread)
        click.echo(f"mynetworks: not looked up: {items} (give --mynetworks)", err=True)
    reader = Reader(always_bcc.encode())
    lines = unread = 0
    for log in in_order(paths):
        with opened(log) as stream:
            read = reader.read(output.progress(stream, log.name), log.changed)
        lines += read.postfix + read.others + read.unread.count
        unread += read.unread.count
        if words := _complaint(log, read):
            click.echo(words, err=True)
    attempts = reader.attempts()
    outside = [
        attempt
        for attempt in attempts
        if not _is_own(address := attempt.request[b"client_address"]) and address not in networks
    ]
    return Mail(outside, len(attempts) - len(outside), reader.logins, reader.untold, lines, unread)


def _complaint(log: LogFile, read: Read) -> str:
    """Return a message about the lines of a log that were not understood."""
    unread = read.unread
    reason = f" ({unread.reason})" if unread.reason else ""
    if not read.postfix and (read.others or unread.count):
        line = unread.line or read.first
        number = unread.number or 1
        which = "its first line" if number == 1 else f"the first one not understood, {number},"
        return (
            f"{log.name}: no line has the form of Postfix's log; {which} is: {_shown(line)}{reason}"
        )
    if not unread.count:
        return ""
    many = "1 line was" if unread.count == 1 else f"{unread.count} lines were"
    return (
        f"{log.name}: {many} not understood, first line {unread.number}: "
        f"{_shown(unread.line)}{reason}"
    )


def _shown(line: bytes) -> str:
    """Return the beginning of a line so that nothing in it reaches the terminal as a command."""
    plain = output.visible(line[:400])
    return plain if len(plain) <= 160 else plain[:157] + "..."


def _is_own(address: bytes) -> bool:
    """Return whether a client is this machine itself (content filters, web mail)."""
    parsed = parse_address(address)
    if parsed is None:
        return True
    number, bits = parsed
    return number >> 24 == 127 if bits == 32 else number == 1
