"""How commands speak: aligned tables, local times, JSON, colours on a terminal only."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import click

from greylist.log import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")
    F = TypeVar("F", bound=Callable[..., Any])

COLOURS = {
    "waiting": "yellow",
    "passed": "green",
    "trusted": "cyan",
    "expired": "bright_black",
    "error": "red",
    "warning": "yellow",
    "ok": "green",
}
"""The colour of a word, on a terminal."""

_FIT = 1000
"""Rows that a table looks at before it fixes its columns' widths."""


def json_option(function: F) -> F:
    """Add ``--json`` to a command."""
    option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
    return option(function)


def print_json(value: object) -> None:
    """Print a value as one line of JSON."""
    click.echo(json.dumps(value))


def text(value: bytes) -> str:
    """Return an address for people and programs; ``greylist.log.unquote`` reads it back."""
    return quote(value, 4096)


def visible(value: bytes) -> str:
    """Return a foreign line for people, with escapes for characters that act on a terminal."""
    letters = value.decode(errors="backslashreplace")
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in letters)


def local_time(seconds: int) -> str:
    """Return a time in seconds since the epoch as the local clock shows it, if it can."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def duration(seconds: float) -> str:
    """Return a time in seconds in its two greatest units: ``45s``, ``5m12s``, ``2d3h``."""
    units = (("w", 604800), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    rest = int(seconds)
    parts: list[str] = []
    for name, size in units:
        if rest >= size and len(parts) < 2:
            parts.append(f"{rest // size}{name}")
            rest %= size
        elif parts:
            break
    return "".join(parts) or "0s"


def size(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"


def percent(part: int, whole: int) -> str:
    """Return a share in per cent, or a dash if the whole is 0."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[int] = ()
) -> None:
    """Print rows in aligned columns as they come; the columns named in ``right`` flush right.

    Widths are those of the first rows, so that a long list starts at once.
    """
    iterator = iter([str(cell) for cell in row] for row in rows)
    first = [row for _, row in zip(range(_FIT), iterator, strict=False)]
    widths = [max(map(len, column)) for column in zip(heads, *first, strict=True)]
    flush = set(right)

    def line(row: Sequence[str]) -> str:
        cells = []
        for number, cell in enumerate(row):
            padded = cell.rjust(widths[number]) if number in flush else cell.ljust(widths[number])
            cells.append(padded.replace(cell, coloured(cell), 1) if cell in COLOURS else padded)
        return "  ".join(cells).rstrip()

    if any(heads):
        click.secho(line(heads), bold=True)
    for row in _then(first, iterator):
        click.echo(line(row))


def _then(first: Iterable[T], rest: Iterable[T]) -> Iterator[T]:
    yield from first
    yield from rest


def coloured(word: str) -> str:
    """Return the word in its colour; click takes colours off what is no terminal."""
    return click.style(word, fg=COLOURS.get(word))


def progress(
    items: Iterable[T], label: str, length: int | None = None, printing: bool = False
) -> Iterator[T]:
    """Yield the items, showing how many there were on standard error if it is a terminal.

    While the items are being printed, they are progress enough for a terminal.
    """
    if not sys.stderr.isatty() or (printing and sys.stdout.isatty()):
        yield from items
        return
    with click.progressbar(
        items, label=label, length=length, show_pos=True, file=sys.stderr, update_min_steps=500
    ) as bar:
        yield from bar
