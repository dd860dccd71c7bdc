r"""The database as text: one entry a line, whatever its bytes.

dump  :== "# greylist dump 1" LF *(line) "# " count " entries" LF
line  :== key TAB value LF

A byte that is not visible ASCII, a ``#`` or a backslash is ``\xHH``. Lines that start with
``#`` and empty ones are comments, but for the last one: without it, the dump is cut short.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HEADER = b"# greylist dump 1"

_PLAIN = {
    code: chr(code) if 0x20 < code < 0x7F and chr(code) not in "#\\" else f"\\x{code:02x}"
    for code in range(256)
}
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
_FOOTER = re.compile(rb"# (\d+) entries")


class DumpError(ValueError):
    """A dump has a malformed line; the text names it."""


def write(entries: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """Yield the lines of a dump, without their ends.

    A key without a value, which is no entry, is left out, as it could not be read again.
    """
    yield HEADER.decode()
    number = 0
    for key, value in entries:
        if not (key and value):
            continue
        yield f"{_escape(key)}\t{_escape(value)}"
        number += 1
    yield f"# {number} entries"


def _escape(text: bytes) -> str:
    return text.decode("latin-1").translate(_PLAIN)


def read(lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a dump, or of lines written by hand.

    Raises:
        DumpError: names the line that is broken, or says that the dump is cut short, or empty.
    """
    number, count, dump, whole = 0, 0, False, False
    for number, line in enumerate(lines, 1):
        text = line.rstrip(b"\r\n")
        if number == 1:
            dump = text == HEADER
        if not text or text.startswith(b"#"):
            footer = _FOOTER.fullmatch(text)
            whole = bool(footer and int(footer[1]) == count)
            continue
        yield _entry(number, text)
        count += 1
    if dump and not whole:
        raise DumpError(f"line {number}: the dump is cut short after {count} entries")
    if not (dump or count):
        raise DumpError("there is no entry in it: the dump that made it has failed")


def _entry(number: int, text: bytes) -> tuple[bytes, bytes]:
    key, tab, value = text.partition(b"\t")
    if not (key and tab and value):
        raise DumpError(f"line {number}: {text!r:.100} is not a key, a tab and a value")
    return _unescape(number, key), _unescape(number, value)


def _unescape(number: int, text: bytes) -> bytes:
    if b"\\" in _ESCAPED.sub(b"", text):
        raise DumpError(f"line {number}: {text!r:.100} has a backslash that is not \\xHH")
    return _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), text)
