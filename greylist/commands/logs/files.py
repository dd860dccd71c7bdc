"""Log files: unpacked, and put in the order in which they were written."""

from __future__ import annotations

import bz2
import functools
import gzip
import importlib
import io
import itertools
import lzma
import os
import shutil
import subprocess
import tempfile
import time
import zlib
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import click

from greylist.commands.logs.clock import Clock
from greylist.commands.logs.layout import split

if TYPE_CHECKING:
    from collections.abc import Iterator

STANDARD_INPUT = "-"

_LIBRARIES: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open),
    (b"]\0\0", lzma.open),
)  # fmt: skip
"""How a packed file begins, and what opens it."""

_PROGRAMS = (
    (b"\x28\xb5\x2f\xfd", "zstd", "compression.zstd"),
    (b"\x1f\x9d", "gzip", ""),  # compress(1)
    (b"\x04\x22\x4d\x18", "lz4", ""),
    (b"LZIP", "lzip", ""),
)
"""How a packed file begins, the program that unpacks it, and a module if some Python has one."""

_OTHERS = (
    (b"PK\x03\x04", "is a zip archive: unpack it first"),
    (b"7z\xbc\xaf", "is a 7-Zip archive: unpack it first"),
    (b"LPKSHHRH", "is a journal: give what journalctl -o short-iso --file=FILE prints"),
    (b"\xff\xfe", "is text in UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)"),
)
"""How a file begins that cannot be read, and what to do."""

_TAR = slice(257, 262)

_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_LONGEST = 65_536
"""Bytes of a line; a longer one is read in pieces."""

_LOOKED_AT = 50
"""Lines at the beginning of a log in which a time is looked for."""


class LogFile(NamedTuple):
    """A log file.

    Attributes:
        path: ``-`` for standard input.
        changed: when it was last written to, in seconds since the epoch; rotation and
            packing keep that time.
    """

    path: str
    changed: float

    @property
    def name(self) -> str:
        """What to call it."""
        return "standard input" if self.path == STANDARD_INPUT else self.path


def in_order(paths: tuple[str, ...]) -> list[LogFile]:
    """Return the logs at these paths, the oldest first; a file that is there twice once.

    Their order is that of the first times in them: a copy of a log may have lost the time at
    which it was last written to. Standard input comes last, as it cannot be read twice.

    Raises:
        click.ClickException: one cannot be read.
    """
    logs: dict[object, LogFile] = {}
    for path in paths:
        if path == STANDARD_INPUT:
            logs[path] = LogFile(path, time.time())
        else:
            status = os.stat(path)
            logs.setdefault((status.st_dev, status.st_ino), LogFile(path, status.st_mtime))
    found = list(logs.values())
    return sorted(found, key=_begins) if len(found) > 1 else found


def _begins(log: LogFile) -> float:
    """Return the first time in a log, as far as it can be told."""
    if log.path == STANDARD_INPUT or not os.path.isfile(log.path):
        return log.changed
    with opened(log) as lines:
        for line in itertools.islice(lines, _LOOKED_AT):
            parts = split(line.rstrip())
            if parts:
                clock = Clock(log.changed)
                try:
                    return clock.seconds(clock.read(parts[0]))
                except ValueError:
                    pass
    return log.changed


@contextmanager
def opened(log: LogFile) -> Iterator[Iterator[bytes]]:
    """Open a log, unpack it if it is packed, and give its lines.

    Raises:
        click.ClickException: it cannot be read or unpacked.
    """
    try:
        with click.open_file(log.path, "rb") as file, ExitStack() as stack:
            unpacked = _unpacked(stack.enter_context(_buffered(file)), stack, log)
            _refuse(_start(unpacked), log)
            yield iter(functools.partial(unpacked.readline, _LONGEST), b"")
    except _BROKEN as error:
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise click.ClickException(f"{log.name}: {words}") from error


def _buffered(file: object) -> io.BufferedReader:
    return io.BufferedReader(cast("io.RawIOBase", file), _LONGEST)


def _start(file: io.BufferedReader) -> bytes:
    return file.peek(512)[:512]


def _refuse(start: bytes, log: LogFile) -> None:
    """Raise an error that says why a file cannot be read."""
    for magic, words in _OTHERS:
        if start.startswith(magic):
            raise click.ClickException(f"{log.name} {words.replace('FILE', log.path)}")
    if start[_TAR] == b"ustar":
        raise click.ClickException(f"{log.name} is a tar archive: unpack it first")


def _unpacked(plain: io.BufferedReader, stack: ExitStack, log: LogFile) -> io.BufferedReader:
    """Return what is in a file: itself if it is not packed."""
    start = _start(plain)
    for magic, unpack in _LIBRARIES:
        if start.startswith(magic):
            return stack.enter_context(_buffered(stack.enter_context(unpack(plain))))
    for magic, program, module in _PROGRAMS:
        if start.startswith(magic):
            if shutil.which(program):
                return _buffered(_piped(plain, program, stack, log))
            try:
                library = importlib.import_module(module or "no_such_module")
            except ImportError:
                raise click.ClickException(
                    f"{log.name} is packed with {program}, which is not installed here: install "
                    f"it, or unpack the log first"
                ) from None
            return stack.enter_context(_buffered(stack.enter_context(library.open(plain))))
    return plain


def _piped(plain: BinaryIO, program: str, stack: ExitStack, log: LogFile) -> BinaryIO:
    """Return what a program unpacks into a temporary file."""
    unpacked = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
    with tempfile.TemporaryFile() as packed:
        shutil.copyfileobj(plain, packed)
        packed.seek(0)
        result = subprocess.run(
            [program, "-dc"], stdin=packed, stdout=unpacked, stderr=subprocess.PIPE, check=False
        )
    if result.returncode:
        words = result.stderr.decode(errors="backslashreplace").strip().splitlines()
        raise click.ClickException(f"{log.name}: {words[-1] if words else program + ' failed'}")
    unpacked.seek(0)
    return cast("BinaryIO", unpacked)
