"""``greylist load``: take in what ``greylist dump`` printed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, BinaryIO

import click

from greylist.commands import dump_format, output
from greylist.commands.session import apply, opened
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings
    from greylist.store import Entries

OUTCOMES = ("added", "merged", "unchanged")


@click.command("load", short_help="Take in what dump printed.")
@click.argument("file", type=click.File("rb"), default="-")
@output.json_option
@click.pass_obj
def command(settings: Settings, /, file: BinaryIO, as_json: bool) -> None:
    """Take in the entries of FILE, or of standard input, in the form that dump prints.

    What is in the database stays: where both have a triplet, the older first attempt, the
    newer last attempt and the greater count hold. A line that is broken ends it with exit
    status 1; what stands before that line is taken in.

    \b
    Example:
      zcat greylist.dump.gz | greylist load
    """
    broken: list[dump_format.DumpError] = []
    report(load(settings, _until_broken(output.progress(file, "Loading"), broken)), as_json)
    if broken:
        raise click.ClickException(str(broken[0]))


def _until_broken(
    lines: Iterable[bytes], broken: list[dump_format.DumpError]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries before the first broken line, which is put aside."""
    try:
        yield from dump_format.read(lines)
    except dump_format.DumpError as error:
        broken.append(error)


def load(settings: Settings, entries: Iterable[tuple[bytes, bytes]]) -> Counter[str]:
    """Merge entries into the database, which need not exist; return what became of them."""
    counts: Counter[str] = Counter()
    with opened(settings, create=True) as store:
        for outcomes in apply(store, entries, merge):
            counts.update(outcomes)
    return counts


def merge(entries: Entries, entry: tuple[bytes, bytes]) -> str:
    """Store an entry, keeping the best of both where there is one; return its outcome."""
    key, value = entry
    found = entries.get(key)
    merged = value if found is None else _merged(found, value)
    if merged == found:
        return "unchanged"
    entries.put(key, merged, 0)
    return "added" if found is None else "merged"


def _merged(found: bytes, value: bytes) -> bytes:
    """Return the value with the older first attempt and the newer last one."""
    try:
        new = Triplet.unpack(value)
    except ValueError:
        return found
    try:
        old = Triplet.unpack(found)
    except ValueError:
        return value
    first, last = min(old.ctime, new.ctime), max(old.last_seen, new.last_seen)
    count = max(old.count, new.count)
    return Triplet(first, last if last > first else 0, count).pack()


def report(counts: Counter[str], as_json: bool) -> None:
    """Print what became of the entries."""
    if as_json:
        output.print_json({outcome: counts[outcome] for outcome in OUTCOMES})
    else:
        click.echo(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES) + ".")
