"""Which service a file to be imported is of, told by its content."""

from __future__ import annotations

import os
import re
from itertools import chain, islice
from typing import TYPE_CHECKING

from greylist.commands.importers import (
    db_dump,
    greylist_pl,
    iredapd,
    milter_greylist,
    postgrey,
    spamdb,
    sql_dump,
    sqlgrey,
)
from greylist.commands.importers.credits import credited
from greylist.commands.importers.rows import LEARN, READABLE, ForeignError
from greylist.commands.importers.scratch import copies
from greylist.store.berkeley import foreign
from greylist.store.berkeley.environment import META, Damaged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.importers.rows import Row
    from greylist.settings import Settings

_HEAD = 8192
_LOOKED_AT = 100
"""Entries by which a database's program is told."""

_SQLITE = b"SQLite format 3\0"
_PACKED = {
    b"\x1f\x8b": "gzip -dc",
    b"BZh": "bzip2 -dc",
    b"\xfd7zXZ\0": "xz -dc",
    b"\x28\xb5\x2f\xfd": "zstd -dc",
}
_HASHES = (
    "of rspamd's greylisting they hold hashes of client, sender and recipient, from which nothing "
    f"can be taken over; {LEARN}"
)
_OTHERS = {
    rb"\APGDMP": "a dump in PostgreSQL's own format; print it as SQL: pg_restore -f - {path}",
    rb"\A\s*<\?xml\b[^>]*>\s*<mysqldump\b": "a dump in XML; dump the tables anew without --xml",
    rb"\A# greylist dump": "a dump of greylist's own; take it in with: greylist load {path}",
    rb"\A(?:REDIS|VALKEY|\*2\r\n\$6\r\nSELECT)": f"a file of Redis or Valkey; {_HASHES}",
    rb"\brg[bm][a-z0-9]{20}\b": f"a list of Redis' keys; {_HASHES}",
    rb"POSTGREY_OPTS|(?:\A|\n)[# ]*db_type\b": "options, and no database; settings of ours for "
    "them are printed by: greylist import --settings {path}",
}
"""Other kinds of files, and what to do with each."""

_OURS = (b"/client/", b"/pool/", b"/instance/", b"/sender/", b"/purge")


def read(path: str, settings: Settings, now: int) -> tuple[str, Iterator[Row]]:
    """Return which service a file or a directory is of, and what becomes of its entries.

    Args:
        path: of the file or directory.
        settings: say which network a client belongs to, and how long it is remembered.
        now: seconds since the epoch.

    Raises:
        ForeignError: of none that can be read; the text says what it is, and the way out.
    """
    service, rows = _opened(path, settings, now)
    return service, credited(rows, settings, now)


def _opened(path: str, settings: Settings, now: int) -> tuple[str, Iterator[Row]]:
    try:
        if os.path.isdir(path):
            path = _file_in(path)
        head, changed = _head(path), int(os.stat(path).st_mtime)
        if head.startswith(_SQLITE):
            return "sqlgrey", sqlgrey.sqlite_rows(path, settings)
        kind = foreign.kind(head[:META])
        if kind == "BTree":
            return _berkeley(path, settings, changed)
        if kind:
            raise ForeignError(f"{path}: a {kind}, which {_elsewhere()}")
        return _text(path, head, settings, changed, now)
    except PermissionError as error:
        raise ForeignError(f"{error.filename}: {error.strerror}; run this as root") from error
    except OSError as error:
        raise ForeignError(f"{error.filename or path}: {error.strerror}") from error


def _elsewhere() -> str:
    return (
        "libdb cannot read here; on the host that wrote it, run db_dump -p (package db-util; "
        "db_dump185 for 1.85), and import its output, if it is postgrey's or greylist.pl's"
    )


def _head(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_HEAD)


def _file_in(directory: str) -> str:
    """Return the one database in a directory."""
    known = os.path.join(directory, postgrey.FILE)
    if os.path.exists(known):
        return known
    found = [
        entry.path
        for entry in sorted(os.scandir(directory), key=lambda entry: entry.name)
        if entry.is_file() and _is_database(_head(entry.path))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise ForeignError(f"{directory}: several databases; name one: {', '.join(found)}")
    raise ForeignError(
        f"{directory}: no database in there that could be imported; import reads {READABLE}"
    )


def _is_database(head: bytes) -> bool:
    sqlite = head.startswith(_SQLITE)
    return sqlite or bool(foreign.kind(head[:META])) or milter_greylist.is_database(head)


def _berkeley(path: str, settings: Settings, changed: int) -> tuple[str, Iterator[Row]]:
    """Return what is in a BTree, and in the other one of postgrey's two."""
    if os.path.exists(path + ".env") or os.path.exists(path + ".lock"):
        raise _own(path)
    directory, name = os.path.split(os.path.abspath(path))
    beside = os.path.join(directory, postgrey.CLIENTS)
    both = name == postgrey.FILE and os.path.exists(beside)
    names = [name, postgrey.CLIENTS] if both else [name]
    logs = sorted(name for name in os.listdir(directory) if foreign.LOG.fullmatch(name))
    return _stored(path, _copied(path, directory, names, logs), settings, changed)


def _copied(
    path: str, directory: str, names: list[str], logs: list[str]
) -> Iterator[tuple[bytes, bytes]]:
    with copies([os.path.join(directory, name) for name in (*names, *logs)]) as copy:
        try:
            yield from foreign.entries(copy, names)
        except Damaged as damage:
            raise ForeignError(f"{path}: {damage}") from damage


def _stored(
    path: str, entries: Iterable[tuple[bytes, bytes]], settings: Settings, changed: int
) -> tuple[str, Iterator[Row]]:
    """Return the service whose BTree has these entries, and what becomes of them.

    The original ends keys and values with no NUL; programs in C may.
    """
    stripped = ((key.rstrip(b"\0"), value.rstrip(b"\0")) for key, value in entries)
    first = list(islice(stripped, _LOOKED_AT))
    if any(key.startswith(_OURS) for key, _ in first):
        raise _own(path)
    entries = chain(first, stripped)
    if any(postgrey.is_value(value) for _, value in first):
        return "postgrey", (postgrey.translate(*entry, settings) for entry in entries)
    rows = (greylist_pl.translate(*entry, settings, changed) for entry in entries)
    begun = list(islice(rows, _LOOKED_AT))
    if begun and all(row.kind == "unknown" for row in begun):
        raise ForeignError(
            f"{path}: a BTree of another program; import reads {READABLE}; else {LEARN}"
        )
    return "greylist.pl", chain(begun, rows)


def _own(path: str) -> ForeignError:
    return ForeignError(
        f"{path}: a database of greylist itself, which is not imported: "
        f"greylist --database {path} dump | greylist load"
    )


def _text(
    path: str, head: bytes, settings: Settings, changed: int, now: int
) -> tuple[str, Iterator[Row]]:
    """Return what is in a text, or say what it is."""
    if db_dump.is_dump(head):
        return _stored(path, db_dump.entries(path, _lines(path)), settings, changed)
    if milter_greylist.is_database(head):
        rows = milter_greylist.rows(_lines(path), settings, changed)
        return "milter-greylist", rows
    if spamdb.is_list(head):
        return "spamd", spamdb.rows(_lines(path), settings, changed)
    if sql_dump.is_dump(head):
        with open(path, "rb") as file:
            data = file.read()
        if iredapd.is_dump(data):
            return "iRedAPD", iredapd.rows(sql_dump.records(path, data, {}), settings, now)
        records = sql_dump.records(path, data, sqlgrey.COLUMNS)
        return "sqlgrey", sqlgrey.rows(path, records, settings, sql_dump.is_utc(data))
    raise ForeignError(f"{path}{_what(path, head)}")


def _lines(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        yield from file


def _what(path: str, head: bytes) -> str:
    """Return the kind of a file that cannot be imported, and the way out, if one is known."""
    if not head:
        return " is empty"
    packed = next((_PACKED[magic] for magic in _PACKED if head.startswith(magic)), "")
    if packed:
        return f": compressed; unpack it first: {packed} {path} >FILE"
    for pattern, words in _OTHERS.items():
        if re.search(pattern, head):
            return f": {words.format(path=path)}"
    return f": of no service that is known here; import reads {READABLE}; else {LEARN}"
