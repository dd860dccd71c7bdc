r"""The text that Berkeley DB's ``db_dump`` prints, with ``-p`` or without, once or more in a file.

dump    :== *(name "=" value LF) "HEADER=END" LF *(" " key LF " " value LF) "DATA=END" LF
format=print      bytes that are printable stand for themselves, others are \HH, a backslash is \\
format=bytevalue  two hexadecimal digits a byte
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.commands.importers.rows import ForeignError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ESCAPE = re.compile(rb"\\(\\|[0-9a-fA-F]{2})")
_HEADER = re.compile(rb"\A(?:VERSION=\d|format=(?:print|bytevalue)\n)")


def is_dump(head: bytes) -> bool:
    """Return whether a file that begins like this is a dump."""
    return _HEADER.match(head) is not None


def entries(path: str, lines: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of all dumps in a file.

    Raises:
        ForeignError: names the line that is none of a dump's.
    """
    header: dict[bytes, bytes] | None = {}
    key: bytes | None = None
    number = 0
    for number, line in enumerate(lines, 1):
        text = line.rstrip(b"\r\n")
        if header is not None:
            name, _, value = text.partition(b"=")
            header[name] = value
            if text == b"HEADER=END":
                read = _reader(path, header)
                header = None
        elif text == b"DATA=END" and key is None:
            header = {}
        elif not text.startswith(b" "):
            raise ForeignError(f"{path}:{number}: {text!r:.100} is no line of db_dump's")
        elif key is None:
            key = _unescape(path, number, text[1:], read)
        else:
            yield key, _unescape(path, number, text[1:], read)
            key = None
    if header is None:
        raise ForeignError(f"{path}:{number}: the dump is cut short: it has no line DATA=END")


def _reader(path: str, header: dict[bytes, bytes]) -> bool:
    """Return whether the lines are printable text, and not hexadecimal digits."""
    kind = header.get(b"type", b"btree")
    if kind != b"btree":
        raise ForeignError(f"{path}: a dump of a {kind.decode(errors='replace')}, not of a BTree")
    return header.get(b"format") == b"print"


def _unescape(path: str, number: int, text: bytes, printable: bool) -> bytes:
    try:
        if not printable:
            return bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise ForeignError(f"{path}:{number}: {text!r:.100} is not hexadecimal") from None
    return _ESCAPE.sub(_byte, text)


def _byte(found: re.Match[bytes]) -> bytes:
    return b"\\" if found[1] == b"\\" else bytes.fromhex(found[1].decode())
