"""Tables in the text that ``mysqldump``, ``pg_dump`` or SQLite's ``.dump`` print.

Read is what stands in INSERT and in COPY; the names of the columns come from there, or else from
CREATE TABLE. In MySQL's strings a backslash escapes, in COPY's lines too; in others it is itself
(MySQL's manual, String Literals; PostgreSQL's, COPY and Lexical Structure).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.commands.importers.rows import ForeignError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    Record = dict[str, bytes | int | None]

_HEAD = re.compile(
    rb"^(?:-- (?:MySQL|MariaDB|PostgreSQL) |PRAGMA foreign_keys=|BEGIN TRANSACTION;|CREATE TABLE "
    rb"|INSERT INTO |COPY \S+ \()",
    re.IGNORECASE | re.MULTILINE,
)
_NAME = rb"(?:[`\"\[]?\w+[`\"\]]?\.)?[`\"\[]?(\w+)[`\"\]]?"
_START = re.compile(
    rb"^(?:(?:INSERT|REPLACE)\s+(?:IGNORE\s+)?INTO\s+" + _NAME + rb"\s*(\([^)]*\))?\s*VALUES\s*"
    rb"|COPY\s+" + _NAME + rb"\s*(\([^)]*\))?\s+FROM\s+stdin;\r?\n"
    rb"|CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?" + _NAME + rb"\s*\(([^;]*);)",
    re.IGNORECASE | re.MULTILINE,
)
_NESTED = re.compile(rb"\([^()]*\)")
_WORD = re.compile(rb"\w+")
_VALUE = (
    rb"\s*(?:(?P<null>NULL)\b|(?P<number>-?\d+)(?:\.\d*)?\b|0x(?P<bare>[0-9a-f]*)"
    rb"|X'(?P<hex>[0-9a-f]*)'|CAST\(X'(?P<cast>[0-9a-f]*)' AS TEXT\)"
    rb"|E(?P<escaped>'(?:[^'\\]+|\\.|'')*')|(?:_\w+\s*)?(?P<text>%s))\s*(?P<after>[,)])"
)
_STANDARD = re.compile(_VALUE % rb"'(?:[^']+|'')*'", re.IGNORECASE | re.DOTALL)
_MYSQL = re.compile(_VALUE % rb"'(?:[^'\\]+|\\.|'')*'", re.IGNORECASE | re.DOTALL)
_ROW = re.compile(rb"\s*,?\s*\(")
_ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"0": b"\0", b"Z": b"\x1a"}
_NOT_COLUMNS = {"primary", "key", "unique", "constraint", "index", "check", "foreign"}


def is_dump(head: bytes) -> bool:
    """Return whether a file that begins like this is such a text."""
    return _HEAD.search(head) is not None


def is_utc(data: bytes) -> bool:
    """Return whether dates are in UTC, as mysqldump writes them; else they are in local time."""
    return b"TIME_ZONE='+00:00'" in data[:65536]


def records(
    path: str, data: bytes, columns: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, Record]]:
    """Yield each row with its table's name, both in lower case.

    Args:
        path: the file, for messages.
        data: the text.
        columns: the columns of tables for which the text does not name them.

    Raises:
        ForeignError: names the line that is not understood.
    """
    mysql = b"`" in data[:65536] or b"-- MySQL" in data[:200] or b"-- MariaDB" in data[:200]
    pattern = _MYSQL if mysql else _STANDARD
    known = dict(columns)
    place = 0
    while found := _START.search(data, place):
        place = found.end()
        inserted, named, copied, listed, created, body = found.groups()
        if created:
            known[_lower(created)] = _created(body)
            continue
        table = _lower(inserted or copied)
        names = [_lower(word) for word in _WORD.findall(named or listed or b"")]
        names = names or list(known.get(table, ()))
        if copied:
            lines, place = _copied(path, data, place)
        else:
            lines, place = _inserted(path, data, place, pattern)
        for values in lines:
            yield table, dict(zip(names, values, strict=False))


def _lower(name: bytes) -> str:
    return name.decode(errors="replace").lower()


def _created(body: bytes) -> list[str]:
    """Return the names of the columns in what stands in the parentheses of CREATE TABLE."""
    parts = _NESTED.sub(b"", body.rpartition(b")")[0]).split(b",")
    names = [_lower(word[0]) for part in parts if (word := _WORD.search(part))]
    return [name for name in names if name not in _NOT_COLUMNS]


def _inserted(
    path: str, data: bytes, place: int, pattern: re.Pattern[bytes]
) -> tuple[list[list[bytes | int | None]], int]:
    """Return the rows of one INSERT and where it ends."""
    rows: list[list[bytes | int | None]] = []
    while start := _ROW.match(data, place):
        place = start.end()
        row: list[bytes | int | None] = []
        while True:
            found = pattern.match(data, place)
            if found is None:
                number = data.count(b"\n", 0, place) + 1
                text = data[place : place + 40]
                raise ForeignError(f"{path}:{number}: {text!r} is not understood as SQL")
            place = found.end()
            row.append(_literal(found))
            if found["after"] == b")":
                break
        rows.append(row)
    return rows, place


def _literal(found: re.Match[bytes]) -> bytes | int | None:
    if found["null"]:
        return None
    if found["number"]:
        return int(found["number"])
    digits = found["bare"] or found["hex"] or found["cast"]
    if digits is not None:
        return bytes.fromhex(digits.decode())
    escaped, text = found["escaped"], found["text"]
    inner = (escaped or text or b"''")[1:-1].replace(b"''", b"'")
    return _unescape(inner) if escaped or found.re is _MYSQL else inner


def _unescape(text: bytes) -> bytes:
    def character(found: re.Match[bytes]) -> bytes:
        return _ESCAPES.get(found[1], found[1])

    return re.sub(rb"\\(.)", character, text, flags=re.DOTALL) if b"\\" in text else text


def _copied(path: str, data: bytes, place: int) -> tuple[list[list[bytes | int | None]], int]:
    """Return the rows of one COPY and where it ends."""
    end = data.find(b"\n\\.", place - 1)
    if end < 0:
        raise ForeignError(f"{path}: the dump is cut short: a COPY has no end")
    return [
        [None if field == rb"\N" else _unescape(field) for field in line.split(b"\t")]
        for line in data[place:end].splitlines()
    ], end + 3
