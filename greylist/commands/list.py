"""``greylist list``: what is in the database."""

from __future__ import annotations

import heapq
import itertools
import time
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.entry import Entry, client_text, entries
from greylist.commands.selection import Selection, selectors
from greylist.commands.session import opened
from greylist.store.batches import walk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from greylist.settings import Settings

SORTS = ("client", "sender", "recipient", "state", "first", "last", "attempts")
_HEADS = ("CLIENT", "SENDER", "RECIPIENT", "STATE", "FIRST", "LAST", "ATTEMPTS")


@click.command("list", short_help="Show the entries.")
@selectors
@click.option("--sort", type=click.Choice(SORTS), help="Sort by this. [default: as stored]")
@click.option("--reverse", is_flag=True, help="Sort the other way: latest or most first.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show N at most.")
@output.json_option
@click.pass_obj
def command(
    settings: Settings,
    /,
    sort: str | None,
    reverse: bool,
    limit: int | None,
    as_json: bool,
    **selectors: Any,
) -> None:
    """Show the entries of the database, all or those that match PATTERN.

    PATTERN is a glob for the client, the sender or the recipient; a client may also be given as
    an address, as a network or as a host's name, which stands for its domain. Times are local.
    ATTEMPTS counts the attempts, the first one included. Beside triplets, there are the credits
    of clients (SENDER and RECIPIENT are *) and of their senders (RECIPIENT is *), with the
    number of their triplets that have passed: with enough of it, a client is trusted and a
    sender known. With --json, each line is an object. Exit status: 0, or 1 if nothing matches.

    \b
    Examples:
      greylist list '*@example.com' --state waiting
      greylist list --client 192.0.2.0/24 --sort last --reverse --limit 10
    """
    now = int(time.time())
    test = Selection(**selectors).test(now, settings)
    with opened(settings) as store:
        printing = sort is None and not reverse
        stored = output.progress(walk(store), "Reading", printing=printing)
        found = (entry for entry in entries(stored, settings, now) if test(entry))
        chosen = arrange(found, sort, reverse, limit)
        first = next(chosen, None)
        if first is None:
            click.echo("No entry matches.", err=True)
            raise click.exceptions.Exit(1)
        show(itertools.chain([first], chosen), settings, as_json)


def arrange(
    found: Iterable[Entry], sort: str | None, reverse: bool, limit: int | None
) -> Iterator[Entry]:
    """Yield the entries in the order asked for; only ``limit`` of them are kept in memory."""
    if sort is None and not reverse:
        return itertools.islice(found, limit)

    def order(entry: Entry) -> Any:
        return (getattr(entry, sort) if sort else entry.key), entry.key

    if limit is None:
        return iter(sorted(found, key=order, reverse=reverse))
    return iter((heapq.nlargest if reverse else heapq.nsmallest)(limit, found, key=order))


def show(chosen: Iterable[Entry], settings: Settings, as_json: bool) -> None:
    """Print entries."""
    if as_json:
        for entry in chosen:
            output.print_json(as_dict(entry))
    else:
        output.table(_HEADS, (_row(entry, settings) for entry in chosen), right=[6])


def as_dict(entry: Entry) -> dict[str, object]:
    """Return an entry for JSON; times are in seconds since the epoch."""
    value: dict[str, object] = entry._asdict()
    del value["key"], value["passed"]
    for name in ("client", "sender", "recipient"):
        value[name] = output.text(getattr(entry, name))
    return value


def _row(entry: Entry, settings: Settings) -> tuple[object, ...]:
    sender = output.text(entry.sender) or ("<>" if entry.has_sender else "*")
    return (
        client_text(entry.client, settings) or "*",
        sender,
        output.text(entry.recipient) or "*",
        entry.state,
        output.local_time(entry.first),
        output.local_time(entry.last),
        entry.attempts,
    )
