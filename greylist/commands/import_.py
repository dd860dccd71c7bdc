"""``greylist import``: take over from another greylisting service."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.importers.rows import LEARN, ForeignError
from greylist.commands.importers.source import read
from greylist.commands.load import load, report
from greylist.expiry import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.importers.rows import Row
    from greylist.settings import Settings

_WORDS = {
    "triplets": "triplets",
    "senders": "senders that are known",
    "clients": "clients that have passed",
    "expired": "left out: expired",
    "hashed": "left out: hashed keys",
    "wide": "left out: of networks wider than ipv4_prefix or ipv6_prefix makes them",
    "masked": "left out: of senders whose numbers it does not keep, and we tell apart",
    "domains": "senders' domains that have passed: known from their own servers",
    "listed": "left out: whitelisted; list them in a file for whitelist",
    "traps": "left out: spam traps, and hosts that have hit one",
    "optin": "left out: opted in; list them in a file for greylist_recipients",
    "optout": "left out: opted out; list them in a file for whitelist_recipients",
    "unknown": "left out: not understood",
}
_NAMED = ("wide", "masked", "listed", "optin", "optout", "unknown")
_MOST_NAMED = 5
"""How many entries of a kind that is left out are named."""


@click.command("import", short_help="Take over from postgrey, sqlgrey or greylist.pl.")
@click.argument("path", type=click.Path(exists=True, readable=False), required=False)
@click.option("--dry-run", is_flag=True, help="Only count what would be taken over.")
@click.option(
    "--settings",
    "options",
    type=click.Path(exists=True, dir_okay=False),
    help="Print settings for the options in this file: /etc/default/postgrey, a unit that starts "
    "postgrey, sqlgrey.conf.",
)
@output.json_option
@click.pass_obj
def command(
    settings: Settings, /, path: str | None, dry_run: bool, options: str | None, as_json: bool
) -> None:
    """Take over the database of postgrey, sqlgrey, greylist.pl or another service at PATH.

    PATH is the file or its directory, or a text of it: db_dump's of postgrey's;
    mysqldump's, pg_dump's or SQLite's .dump of sqlgrey's or iRedAPD's tables; what OpenBSD's
    spamdb prints. Whose it is, is found out.
    It is only read, and no file is made beside it. Stop the other service first, or its last
    changes may be missing. Clients become networks as the settings have it, and what both
    databases know is merged as by load. What cannot be taken over is counted and named. Exit
    status: 0, or 1 if nothing could be taken over.

    From hashed keys (postgrey --privacy, rspamd) nothing can be taken over.

    \b
    Examples:
      greylist import --settings /etc/default/postgrey
      greylist import /var/lib/postgrey --dry-run
      greylist import /var/mta/greylist.db
    """
    if (path is None) == (options is None):
        raise click.UsageError("give either PATH or --settings FILE")
    try:
        if path is None:
            print_settings(options or "")
        else:
            take_over(settings, path, dry_run, as_json)
    except ForeignError as error:
        raise click.ClickException(str(error)) from error


def print_settings(path: str) -> None:
    """Print lines for greylist.cf that have the effect of the options in a file."""
    from greylist.commands.importers.options import lines

    for line in lines(path):
        click.echo(line)


def take_over(settings: Settings, path: str, dry_run: bool, as_json: bool) -> None:
    """Merge the entries at a path into the database, and print what became of them.

    Raises:
        ForeignError: nothing can be taken over.
    """
    outcome = _Outcome()
    now = int(time.time())
    service, rows = read(path, settings, now)
    entries = list(outcome.taken(output.progress(rows, "Reading"), settings, now))
    if not as_json:
        click.echo(f"{path}: {service}")
        outcome.print()
    if not entries:
        raise ForeignError(f"{path}: {outcome.why_none()}")
    loaded = Counter() if dry_run else load(settings, entries)
    if as_json:
        output.print_json({"service": service, **outcome.counts(), **loaded})
    elif not dry_run:
        report(loaded, as_json)


class _Outcome:
    """The outcome of an import: how many of each kind, and the first ones that are left out."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._names: dict[str, list[str]] = {}

    def taken(
        self, rows: Iterable[Row], settings: Settings, now: int
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield what can be taken over, and count what becomes of every entry."""
        for row in rows:
            value = row.entry.pack()
            gone = row.key and state_of(row.key, value, settings, now) == "expired"
            self._counts["expired" if gone else row.kind] += 1
            if row.key and not gone:
                yield row.key, value
            names = self._names.setdefault(row.kind, [])
            if row.origin and row.kind in _NAMED and len(names) < _MOST_NAMED:
                names.append(output.text(row.origin))

    def counts(self) -> dict[str, int]:
        """Return the number of entries of each kind."""
        return {kind: self._counts[kind] for kind in _WORDS}

    def print(self) -> None:
        """Print the number of each kind that there is, and the names of what is left out."""
        for kind, words in _WORDS.items():
            count, names = self._counts[kind], self._names.get(kind, [])
            if count:
                click.echo(f"{count:>9}  {words}")
            for name in names:
                click.echo(f"{'':>13}{name}")
            if names and count > len(names):
                click.echo(f"{'':>13}and {count - len(names)} more")

    def why_none(self) -> str:
        """Return the reason why no entry can be taken over."""
        if not self._counts.total():
            return "there is no entry in it"
        if self._counts["hashed"] == self._counts.total():
            return (
                f"all keys are hashed (postgrey --privacy): there is nothing to take over; {LEARN}"
            )
        return "there is nothing to take over"
