"""``greylist purge``: delete what has expired, now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from greylist import policy
from greylist.commands import output
from greylist.commands.session import PAUSE, Pace, opened
from greylist.store.berkeley import purge as purging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from greylist.settings import Settings
    from greylist.store import Entries, Store


@click.command("purge", short_help="Delete what has expired, now.")
@output.json_option
@click.pass_obj
def command(settings: Settings, /, as_json: bool) -> None:
    """Delete the expired entries at once.

    The filter does that by itself, a few at a time, so there is no need for a cron job.

    \b
    Example:
      greylist purge
    """
    now = int(time.time())
    with opened(settings) as store:
        number = sum(output.progress(purge(store, settings, now), "Purging"))
    if as_json:
        output.print_json({"purged": number})
    else:
        click.echo(f"{number} purged.")


def purge(store: Store, settings: Settings, now: int) -> Iterator[int]:
    """Delete the expired entries in short batches; yield how many in each."""
    pace, position = Pace(), b""
    while True:
        step = _step(position, pace.count, settings, now)
        position, number = store.transact(pace.timed(step))
        yield number
        if not position:
            return
        time.sleep(PAUSE)


def _step(
    position: bytes, count: int, settings: Settings, now: int
) -> Callable[[Entries], tuple[bytes, int]]:
    def step(entries: Entries) -> tuple[bytes, int]:
        def is_stale(key: bytes, value: bytes) -> bool:
            return policy.is_stale(key, value, settings, now)

        return purging.purge(entries, position, count, is_stale)

    return step
