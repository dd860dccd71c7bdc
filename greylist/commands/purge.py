"""``greylist purge``: delete what has expired, now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.session import kept

if TYPE_CHECKING:
    from greylist.settings import Settings


@click.command("purge", short_help="Delete what has expired, now.")
@output.json_option
@click.pass_obj
def command(settings: Settings, /, as_json: bool) -> None:
    """Delete the expired entries at once.

    The filter does that by itself, a few at a time, so there is no need for a cron job. A server
    of Valkey or Redis does it too: there, nothing is left to do.

    \b
    Example:
      greylist purge
    """
    database = kept(settings)
    if database.expires_by_itself and not as_json:
        click.echo("Nothing to do: the server deletes what has expired by itself.")
        return
    number = sum(output.progress(database.purge(int(time.time())), "Purging"))
    if as_json:
        output.print_json({"purged": number})
    else:
        click.echo(f"{number} purged.")
