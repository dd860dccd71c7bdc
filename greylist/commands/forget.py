"""``greylist forget``: delete entries."""

from __future__ import annotations

import sys
import time
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.entry import Entry, entries, entry_of
from greylist.commands.list import show
from greylist.commands.pools import first_attempt, pools_of
from greylist.commands.selection import Selection, selectors
from greylist.commands.session import apply, opened
from greylist.store.batches import walk

if TYPE_CHECKING:
    from typing import Any

    from greylist.settings import Settings
    from greylist.store import Entries, Store

LARGE = 100
"""Entries that are forgotten without a question."""


@click.command("forget", short_help="Delete entries.")
@selectors
@click.option("--dry-run", is_flag=True, help="Only show what would be forgotten.")
@click.option("--yes", is_flag=True, help="Do not ask, however many there are.")
@output.json_option
@click.pass_obj
def command(
    settings: Settings, /, dry_run: bool, yes: bool, as_json: bool, **selectors: Any
) -> None:
    """Forget the entries that match: their clients are greylisted anew, or trusted no more.

    PATTERN and the options select as for list; at least one is needed. More than 100 are
    forgotten only after a question, or with --yes. Exit status: 0, or 1 if nothing matches.

    \b
    Examples:
      greylist forget --client 192.0.2.0/24 --dry-run
      greylist forget '*@example.com'
    """
    selection = Selection(**selectors)
    if not selection:
        raise click.UsageError("say what to forget: PATTERN or an option; see --help")
    now = int(time.time())
    with opened(settings) as store:
        chosen = choose(store, settings, selection, now)
        if dry_run:
            show(chosen, settings, as_json)
            return
        if len(chosen) > LARGE and not yes:
            _ask(len(chosen))
        number = _forget(store, settings, selection, chosen, now)
    if as_json:
        output.print_json({"forgotten": number})
    else:
        click.echo(f"{number} forgotten.")


def _forget(
    store: Store, settings: Settings, selection: Selection, chosen: list[Entry], now: int
) -> int:
    """Delete the chosen entries and their pools' triplets; return how many entries."""
    test = selection.test(now, settings)

    def forget(entries: Entries, entry: Entry) -> Entry | None:
        """Delete an entry, unless it has changed meanwhile and is not meant any more."""
        value = entries.get(entry.key)
        found = value and entry_of(entry.key, value, settings, now)
        if not found or not test(found):
            return None
        entries.delete(entry.key)
        return entry

    def forget_pool(entries: Entries, pool: tuple[bytes, int | None]) -> None:
        """Delete a pool's triplet, unless it has begun anew meanwhile."""
        key, began = pool
        found = entries.get(key)
        if found is not None and began in {None, first_attempt(found)}:
            entries.delete(key)

    shown = output.progress(chosen, "Forgetting", len(chosen))
    batches = apply(store, shown, forget, attrgetter("key"))
    gone = [entry for batch in batches for entry in batch if entry]
    for _ in apply(store, pools_of(store, gone).items(), forget_pool, itemgetter(0)):
        pass
    return len(gone)


def choose(
    store: Store, settings: Settings, selection: Selection, now: int, triplets: bool = False
) -> list[Entry]:
    """Return the entries, or triplets only, that are meant; without any, end with exit status 1."""
    test = selection.test(now, settings)
    stored = output.progress(walk(store), "Reading")
    found = (entry for entry in entries(stored, settings, now) if test(entry))
    chosen = [entry for entry in found if entry.is_triplet or not triplets]
    if not chosen:
        click.echo("No entry matches.", err=True)
        raise click.exceptions.Exit(1)
    return chosen


def _ask(number: int) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError(f"{number} entries match: give --yes to forget them all")
    click.confirm(f"Forget {number} entries?", abort=True, err=True)
