"""``greylist dump``: the database as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from greylist.commands import dump_format, output
from greylist.commands.session import kept

if TYPE_CHECKING:
    from greylist.settings import Settings


@click.command("dump", short_help="Print the whole database as text.")
@click.pass_obj
def command(settings: Settings, /) -> None:
    """Print the whole database as text, an entry a line, for load and for backups.

    A line is the key, a tab and the value; bytes that are not visible ASCII are \\xHH. The
    last line counts the entries, so that a dump cut short is noticed.

    All entries are as they were at one moment, while requests go on: a copy is made first, in
    $TMPDIR or /tmp, which needs as much room as the database.

    \b
    Example:
      greylist dump | gzip > greylist.dump.gz
    """
    with kept(settings).backup() as entries:
        for line in dump_format.write(output.progress(entries, "Dumping", printing=True)):
            click.echo(line)
