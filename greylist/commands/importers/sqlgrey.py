"""sqlgrey's tables, of an SQLite file or of the text of a dump.

connect      (sender_name, sender_domain, src, rcpt, first_seen)       triplets that wait
from_awl     (sender_name, sender_domain, src, first_seen, last_seen)  senders that have passed
domain_awl   (sender_domain, src, first_seen, last_seen)               domains with several such
optin_domain, optin_email, optout_domain, optout_email                 who is greylisted, or not

src is an IPv4 address, its first three octets, eight groups of an IPv6 address or its first
four; to version 1.4 the columns were ``ip_addr`` and ``host_ip``. Times are seconds since the
epoch in SQLite and dates elsewhere. An absent name or domain is ``-undef-``.
"""

from __future__ import annotations

import calendar
import os
import re
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from greylist.commands.importers.rows import (
    LEARN,
    READABLE,
    ForeignError,
    Row,
    identity,
    normal,
    triplet_row,
    unknown,
    unmask,
)
from greylist.commands.importers.scratch import copies
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.importers.sql_dump import Record
    from greylist.settings import Settings

TABLES = ("connect", "from_awl", "domain_awl")
LISTS = ("optin_domain", "optin_email", "optout_domain", "optout_email")

_UNDEFINED = b"-undef-"
_DATE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:\+00(?::?00)?|Z)?")
COLUMNS = {
    "connect": ("sender_name", "sender_domain", "src", "rcpt", "first_seen"),
    "from_awl": ("sender_name", "sender_domain", "src", "first_seen", "last_seen"),
    "domain_awl": ("sender_domain", "src", "first_seen", "last_seen"),
    **{table: (table.partition("_")[2],) for table in LISTS},
}
"""The columns in the order of their creation, for a dump that does not name them."""


def sqlite_rows(path: str, settings: Settings) -> Iterator[Row]:
    """Yield the entries of an SQLite file.

    Raises:
        ForeignError: it is no database, or another program's.
    """
    paths = [path, *(path + end for end in ("-wal", "-journal") if os.path.exists(path + end))]
    with copies(paths) as directory:
        try:
            with closing(sqlite3.connect(os.path.join(directory, os.path.basename(path)))) as file:
                file.text_factory = bytes  # senders are any bytes
                yield from rows(path, _records(file), settings, utc=True)
        except sqlite3.Error as error:
            raise ForeignError(f"{path}: SQLite cannot read it: {error}") from error


def _records(file: sqlite3.Connection) -> Iterator[tuple[str, Record]]:
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    for (table,) in file.execute(tables).fetchall():
        name = table.decode()
        if name not in (*TABLES, *LISTS):
            yield name, {}
            continue
        cursor = file.execute(f'SELECT * FROM "{name}"')  # noqa: S608 - one of our own words
        columns = [column[0] for column in cursor.description]
        for values in cursor:
            yield name, dict(zip(columns, values, strict=True))
        if name in TABLES:
            yield name, {}


def rows(
    path: str, records: Iterable[tuple[str, Record]], settings: Settings, utc: bool
) -> Iterator[Row]:
    """Yield what becomes of the rows of sqlgrey's tables.

    Args:
        path: the file, for messages.
        records: each row with its table's name; a row without columns says that there is one.
        settings: say which network a client belongs to.
        utc: whether dates are in UTC, and not in local time.

    Raises:
        ForeignError: none of the tables is sqlgrey's.
    """
    seen: set[str] = set()
    for table, record in records:
        seen.add(table)
        if record and table in TABLES:
            yield _READERS[table](record, settings, utc)
        elif record and table in LISTS:
            yield Row(table.partition("_")[0], origin=_text(record, "domain", "email"))
    if seen.isdisjoint(TABLES):
        tables = ", ".join(sorted(seen)) or "none"
        raise ForeignError(
            f"{path}: tables of another program than sqlgrey ({tables}); import reads {READABLE}; "
            f"else {LEARN}"
        )


def _waiting(record: Record, settings: Settings, utc: bool) -> Row:
    sender, recipient = _sender(record), _text(record, "rcpt")
    first = _time(record, "first_seen", utc)
    if sender is None or not (recipient and first):
        return _unknown("connect", record)
    source = _text(record, "src", "ip_addr")
    return triplet_row(_address(source), sender, recipient, Triplet(first), settings)


def _passed(record: Record, settings: Settings, utc: bool) -> Row:
    sender, times = _sender(record), _times(record, utc)
    client = identity(_address(_text(record, "src", "host_ip")), settings)
    if sender is None or not (client and times):
        return _unknown("from_awl", record)
    one = unmask(sender, settings)
    if one is None:
        return Row("masked", origin=client + b" " + sender, client=client, entry=times)
    return Row("senders", client=client, sender=normal(one, settings), entry=times)


def _domain(record: Record, settings: Settings, utc: bool) -> Row:
    client = identity(_address(_text(record, "src", "host_ip")), settings)
    times = _times(record, utc)
    if not (client and times):
        return _unknown("domain_awl", record)
    return Row("domains", client=client, sender=_text(record, "sender_domain").lower(), entry=times)


_READERS = {"connect": _waiting, "from_awl": _passed, "domain_awl": _domain}


def _sender(record: Record) -> bytes | None:
    """Return the sender of a row, or None when it has none."""
    user, domain = _text(record, "sender_name"), _text(record, "sender_domain")
    if not (user and domain):
        return None
    return b"" if user == _UNDEFINED else user if domain == _UNDEFINED else user + b"@" + domain


def _times(record: Record, utc: bool) -> Triplet | None:
    """Return when a sender came first, as far as is known, and last."""
    last = _time(record, "last_seen", utc)
    first = _time(record, "first_seen", utc) or last
    return Triplet(first, last if last > first else 0, 1, passed=True) if last else None


def _unknown(table: str, record: Record) -> Row:
    values = (b"NULL" if value is None else _bytes(value) for value in record.values())
    return unknown(table.encode(), b"|".join(values))


def _text(record: Record, *names: str) -> bytes:
    for name in names:
        value = record.get(name)
        if value is not None:
            return _bytes(value)
    return b""


def _bytes(value: bytes | int) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _time(record: Record, name: str, utc: bool) -> int:
    """Return a time in seconds since the epoch, or 0 when it is none."""
    text = _text(record, name)
    if text.isdigit() and len(text) <= 12:
        return int(text)
    date = _DATE.fullmatch(text)
    if date is None:
        return 0
    parts = time.struct_time((*map(int, date.groups()), 0, 0, -1))
    try:
        return int(calendar.timegm(parts) if utc else time.mktime(parts))
    except (ValueError, OverflowError):
        return 0


def _address(source: bytes) -> bytes:
    """Return the address of ``src``, which has only the bytes of the network."""
    if b":" in source:
        return source + b"::" if source.count(b":") == 3 and b"::" not in source else source
    return source + b".0" * (3 - source.count(b"."))
