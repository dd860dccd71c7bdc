"""iRedAPD's table ``greylisting_tracking``, in the text that mysqldump or pg_dump print.

A row is a triplet with the address of a client, no network: ``init_time`` is the first attempt,
``passed`` whether it has come back, ``blocked_count`` the attempts that were deferred, and
``record_expired`` when it will be forgotten, 30 days after its last use. Times are in seconds since
the epoch. ``greylisting_whitelists`` has addresses that are never greylisted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.importers.rows import PASSED, Row, triplet_row, unknown
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.importers.sql_dump import Record
    from greylist.settings import Settings

TRACKING, LISTED = "greylisting_tracking", "greylisting_whitelists"

_KEPT = 30 * 86400
"""Seconds that a triplet is kept that has passed (``GREYLISTING_AUTH_TRIPLET_EXPIRE``)."""


def is_dump(data: bytes) -> bool:
    """Return whether a text in SQL has iRedAPD's table."""
    return TRACKING.encode() in data and b"block_expired" in data


def rows(records: Iterable[tuple[str, Record]], settings: Settings, now: int) -> Iterator[Row]:
    """Yield what becomes of each row.

    Args:
        records: each row with its table's name.
        settings: say which network a client belongs to.
        now: seconds since the epoch.
    """
    for table, record in records:
        if table == TRACKING:
            yield _row(record, settings, now)
        elif table == LISTED:
            yield Row("listed", origin=_text(record, "sender"))


def _row(record: Record, settings: Settings, now: int) -> Row:
    first, gone = _number(record, "init_time"), _number(record, "record_expired")
    address, recipient = _text(record, "client_address"), _text(record, "recipient")
    if not (first and address and recipient):
        values = (b"NULL" if value is None else _bytes(value) for value in record.values())
        return unknown(TRACKING.encode(), b"|".join(values))
    if gone and gone < now:
        return Row("expired")
    triplet = Triplet(first)
    if _number(record, "passed"):
        triplet = Triplet(first, min(max(first, gone - _KEPT), now), PASSED, passed=True)
    return triplet_row(address, _text(record, "sender"), recipient, triplet, settings)


def _text(record: Record, name: str) -> bytes:
    return _bytes(record.get(name) or b"")


def _bytes(value: bytes | int) -> bytes:
    return value if isinstance(value, bytes) else b"%d" % value


def _number(record: Record, name: str) -> int:
    text = _text(record, name)
    return int(text) if text.isdigit() and len(text) <= 12 else 0
