"""``greylist load``: take in what ``greylist dump`` printed."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, BinaryIO

import click

from greylist.commands import dump_format, output
from greylist.commands.session import apply, opened
from greylist.expiry import keep, merge
from greylist.triplet import INSTANCE, Triplet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings
    from greylist.store import Entries

MOST_NAMED = 5
"""How many entries that are left out are named."""

OUTCOMES = ("added", "merged", "unchanged")


@click.command("load", short_help="Take in what dump printed.")
@click.argument("file", type=click.File("rb"), default="-")
@output.json_option
@click.pass_obj
def command(settings: Settings, /, file: BinaryIO, as_json: bool) -> None:
    """Take in the entries of FILE, or of standard input, in the form that dump prints.

    What is in the database stays: where both have an entry, what has expired is dropped, and the
    older first attempt, the newer last attempt and the greater count hold; a triplet has passed
    if it has in one of them. All is read before anything is written: if
    there is no entry, a line is broken, or the dump is cut short, nothing is taken in, with
    exit status 1. A line that reads well but is no entry is left out, and named.

    \b
    Example:
      zcat greylist.dump.gz | greylist load
    """
    with _rewindable(file) as lines:
        start = lines.tell()
        try:
            _check(lines)
        except dump_format.DumpError as error:
            raise click.ClickException(f"{error}; nothing was taken in") from error
        lines.seek(start)
        entries = (entry for entry in dump_format.read(lines) if _is_entry(*entry))
        report(load(settings, output.progress(entries, "Loading")), as_json)


@contextmanager
def _rewindable(file: BinaryIO) -> Iterator[BinaryIO]:
    """Yield a file that can be read twice; a pipe is copied for that."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile(prefix="greylist-load-") as copy:
        shutil.copyfileobj(file, copy)
        copy.seek(0)
        yield copy


def _check(lines: Iterable[bytes]) -> None:
    """Check that a dump can be loaded; name the lines that are no entries.

    Raises:
        DumpError: a line is broken, the dump is cut short, or there is none.
    """
    count = 0
    strange: list[str] = []
    for key, value in dump_format.read(output.progress(lines, "Reading")):
        if not _is_entry(key, value):
            count += 1
            if count <= MOST_NAMED:
                strange.append(output.text(key))
    if count:
        more = ", ..." if count > MOST_NAMED else ""
        click.echo(f"{count} left out, as no entries: {', '.join(strange)}{more}", err=True)


def _is_entry(key: bytes, value: bytes) -> bool:
    """Return whether a filter may have stored this value under this key."""
    if key.startswith(INSTANCE):
        return value.isdigit()
    try:
        return key.count(b"/") > 1 and bool(Triplet.unpack(value))
    except ValueError:
        return False


def load(settings: Settings, entries: Iterable[tuple[bytes, bytes]]) -> Counter[str]:
    """Merge entries into the database, which need not exist; return what became of them."""
    counts: Counter[str] = Counter()
    merge = partial(merge_entry, settings, int(time.time()))
    with opened(settings, create=True, adopt=True) as store:
        for outcomes in apply(store, entries, merge, itemgetter(0)):
            counts.update(outcomes)
    return counts


def merge_entry(settings: Settings, now: int, entries: Entries, entry: tuple[bytes, bytes]) -> str:
    """Store an entry, joined with the one that there is; return its outcome."""
    key, value = entry
    found = entries.get(key)
    merged = value if found is None else merge(key, value, found, settings, now)
    if merged is None or merged == found:
        return "unchanged"
    entries.put(key, merged, keep(key, merged, settings, now))
    return "added" if found is None else "merged"


def report(counts: Counter[str], as_json: bool) -> None:
    """Print what became of the entries."""
    if as_json:
        output.print_json({outcome: counts[outcome] for outcome in OUTCOMES})
    else:
        click.echo(", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES) + ".")
