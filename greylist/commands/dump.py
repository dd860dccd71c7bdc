"""``greylist dump``: the database as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from greylist.commands import output, text_form
from greylist.commands.database import opened, walk

if TYPE_CHECKING:
    from greylist.settings import Settings


@click.command("dump", short_help="Print the whole database as text.")
@click.pass_obj
def command(settings: Settings, /) -> None:
    """Print the whole database as text, an entry a line, for load and for backups.

    A line is the key, a tab and the value; bytes that are not visible ASCII are \\xHH. The
    last line counts the entries, so that a dump cut short is noticed.

    Requests go on meanwhile. Each entry is dumped as it is at one moment between the start
    and the end; entries are independent of each other, so that is as good as one moment for
    all.

    \b
    Example:
      greylist dump | gzip > greylist.dump.gz
    """
    with opened(settings) as store:
        for line in text_form.write(output.progress(walk(store), "Dumping")):
            click.echo(line)
