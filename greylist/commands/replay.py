"""``greylist replay``: what greylisting would have done to yesterday's mail."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import time
import zlib
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import click

from greylist.addresses import parse_address
from greylist.answer import Responder
from greylist.cli import configure
from greylist.commands import output
from greylist.commands.logs.maillog import Attempt, Reader
from greylist.commands.logs.simulation import Outcome, deliveries, play
from greylist.commands.report.statistics import quantile
from greylist.commands.session import kept, to_person
from greylist.commands.stats import QUANTILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.commands.logs.simulation import Delivery
    from greylist.settings import Settings

_PACKED: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open),
)  # fmt: skip
"""How a packed file begins, and what opens it."""

_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)

_KINDS = (
    ("passed at once", "at_once"),
    ("delayed, retry not in the log", "unknown"),
    ("never came back", "never"),
    ("open when the log ends", "open"),
)


@click.command("replay", short_help="Try settings on the mail log.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True))
@click.option("--compare", metavar="FILE", help="Show these settings beside the ones in force.")
@click.option("--top", type=click.IntRange(0, 1000), default=5, show_default=True, metavar="N",
              help="How many of the clients that suffer most to name.")  # fmt: skip
@output.json_option
@click.pass_obj
def command(
    settings: Settings, /, logs: tuple[str, ...], compare: str | None, top: int, as_json: bool
) -> None:
    """Say what greylisting would have done to the mail in Postfix's LOGS.

    The logs may be packed (gzip, bzip2, xz), and given in any order. Deliveries and retries are
    rebuilt from them and run through the policy with the settings in force, at the log's own
    clock, in a database of their own that is thrown away. Mail with a login, and from the
    machine itself, is left out.

    Where the log was written without greylisting it has no retries: such a delivery counts as
    delayed, for a time that is not known. Several messages at once from one sender to one
    recipient count as one. Exit status: 0, or 1 if there is no mail in the logs.

    \b
    Examples:
      greylist replay /var/log/mail.log*
      greylist --delay 10m replay --compare /etc/postfix/greylist.cf /var/log/mail.log
    """
    others = [configure(compare, {})] if compare else []
    attempts = sorted(read(logs), key=attrgetter("time"))
    if not attempts:
        click.echo("There is no mail from outside in the logs.", err=True)
        raise click.exceptions.Exit(1)
    found = deliveries(attempts)
    outcomes = [_play(found, configuration) for configuration in (settings, *others)]
    if as_json:
        output.print_json(as_dict(attempts, len(found), outcomes, top))
    else:
        names = [_name(configuration) for configuration in (settings, *others)]
        show(attempts, len(found), dict(zip(names, outcomes, strict=True)), top)


def _play(found: list[Delivery], settings: Settings) -> Outcome:
    responder = Responder(settings, to_person())
    with kept(settings).acting():  # what root can read is no proof
        return play(found, settings, responder.screen)


def _name(settings: Settings) -> str:
    return os.path.basename(settings.path) if settings.path else "defaults"


def read(paths: tuple[str, ...]) -> Iterator[Attempt]:
    """Yield the attempts of several logs, the oldest log first."""
    reader = Reader()
    for path in sorted(paths, key=_changed):
        try:
            with _opened(path) as file:
                lines = output.progress(file, path)
                for attempt in reader.read(lines, _changed(path)):
                    if attempt.time and not _own(attempt.request[b"client_address"]):
                        yield attempt
        except _BROKEN as error:
            raise click.ClickException(f"{path}: {error}") from error


def _changed(path: str) -> float:
    """Return when a log was last written to; rotation and gzip keep that time."""
    return time.time() if path == "-" else os.stat(path).st_mtime


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    """Open a log, or standard input, and unpack what is packed."""
    with click.open_file(path, "rb") as file:
        plain = io.BufferedReader(cast("io.RawIOBase", file))
        start = plain.peek()
        unpack = next((unpack for magic, unpack in _PACKED if start.startswith(magic)), None)
        if unpack is None:
            yield plain
        else:
            with unpack(plain) as unpacked:
                yield unpacked


def _own(address: bytes) -> bool:
    """Return whether a client is this machine itself (content filters, web mail)."""
    parsed = parse_address(address)
    if parsed is None:
        return True
    number, bits = parsed
    return number >> 24 == 127 if bits == 32 else number == 1


def show(attempts: list[Attempt], number: int, outcomes: dict[str, Outcome], top: int) -> None:
    """Print outcomes side by side."""
    first, last = (output.local_time(attempts[place].time) for place in (0, -1))
    click.echo(f"{first} to {last}: {len(attempts)} attempts, {number} deliveries\n")
    columns = list(outcomes.values())
    rows: list[list[object]] = [
        [label, *(getattr(outcome, name) for outcome in columns)] for label, name in _KINDS
    ]
    rows.insert(1, ["delayed", *(len(outcome.delays) for outcome in columns)])
    for place, (label, share) in enumerate(QUANTILES, 2):
        rows.insert(place, [f"  {label}", *(_delay(outcome, share) for outcome in columns)])
    output.table(["", *outcomes], rows, right=range(1, len(outcomes) + 1))
    for name, outcome in outcomes.items():
        sufferers = outcome.sufferers(top)
        if sufferers:
            click.echo(f"\nClients that suffer most, {name}:")
            table = [
                [output.text(client), total, delayed, output.duration(worst) if worst else "?"]
                for client, (total, delayed, worst) in sufferers
            ]
            output.table(["CLIENT", "DELIVERIES", "DELAYED", "WORST"], table, right=[1, 2, 3])


def _delay(outcome: Outcome, share: float) -> str:
    delay = quantile(outcome.delays, share)
    return "-" if delay is None else output.duration(delay)


def as_dict(
    attempts: list[Attempt], number: int, outcomes: list[Outcome], top: int
) -> dict[str, object]:
    """Return outcomes for JSON; times are in seconds."""
    return {
        "from": attempts[0].time,
        "to": attempts[-1].time,
        "attempts": len(attempts),
        "deliveries": number,
        "outcomes": [
            {
                **{name: getattr(outcome, name) for _, name in _KINDS},
                "delayed": len(outcome.delays),
                **{f"p{s * 100:g}": quantile(outcome.delays, s) for _, s in QUANTILES},
                "clients": [[output.plain(name), *row] for name, row in outcome.sufferers(top)],
            }
            for outcome in outcomes
        ],
    }
