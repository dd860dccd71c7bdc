"""``greylist import``: take over from another greylisting service."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import click

from greylist import policy
from greylist.commands import output
from greylist.commands.importers.foreign import ForeignError, Row, read
from greylist.commands.load import load, report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings

_WORDS = {
    "triplets": "triplets",
    "clients": "clients that have passed",
    "expired": "left out: expired",
    "hashed": "left out: hashed keys",
    "unknown": "left out: not understood",
}


@click.command("import", short_help="Take over from postgrey, sqlgrey or greylist.pl.")
@click.argument("path", type=click.Path(exists=True))
@click.option("--dry-run", is_flag=True, help="Only count what would be taken over.")
@output.json_option
@click.pass_obj
def command(settings: Settings, /, path: str, dry_run: bool, as_json: bool) -> None:
    """Take over the database of postgrey, sqlgrey (SQLite) or greylist.pl at PATH.

    PATH is the file, or postgrey's directory; what it is of is found out. It is only read.
    Stop the other service first, or its last changes may be missing. Clients become networks
    as the settings have it, and what both databases know is merged as by load. Exit status:
    0, or 1 if nothing could be taken over.

    postgrey run with --privacy stores hashed keys, from which nothing can be taken over.

    \b
    Examples:
      greylist import /var/lib/postgrey --dry-run
      greylist import /var/mta/greylist.db
    """
    kinds: Counter[str] = Counter()
    now = int(time.time())
    try:
        service, rows = read(path, settings)
        entries = list(_taken(output.progress(rows, "Reading"), settings, now, kinds))
    except ForeignError as error:
        raise click.ClickException(str(error)) from error
    if not as_json:
        click.echo(f"{path}: {service}", err=False)
        for kind, words in _WORDS.items():
            if kinds[kind]:
                click.echo(f"{kinds[kind]:>9}  {words}")
    if kinds["hashed"] and not entries:
        raise click.ClickException(
            "all keys are hashed (postgrey --privacy): there is nothing to take over; "
            "start afresh with mode = learn for a few days"
        )
    if not entries:
        raise click.ClickException("there is nothing to take over")
    outcome = Counter() if dry_run else load(settings, entries)
    if as_json:
        output.print_json({"service": service, **{kind: kinds[kind] for kind in _WORDS}, **outcome})
    elif not dry_run:
        report(outcome, as_json)


def _taken(
    rows: Iterable[Row], settings: Settings, now: int, kinds: Counter[str]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield what can be taken over, and count what becomes of every entry."""
    for kind, key, value in rows:
        gone = key and policy.state_of(key, value, settings, now) == "expired"
        kinds["expired" if gone else kind] += 1
        if key and not gone:
            yield key, value
