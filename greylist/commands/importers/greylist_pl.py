"""The entries of ``greylist.pl``, which keeps one BTree.

the first public version :== client "/" sender "/" recipient -> time
                             client -> count, for its auto-whitelist
the later one            :== client "/" sender "/" recipient -> ctime "/" atime "/" count

client is an address. Times are in seconds since the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.importers.postgrey import split
from greylist.commands.importers.rows import PASSED, Row, client_row, triplet_row, unknown
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from greylist.settings import Settings


def translate(name: bytes, value: bytes, settings: Settings, changed: int) -> Row:
    """Return an entry of either version as ours.

    Args:
        name: its key.
        value: its value.
        settings: say which network a client belongs to.
        changed: when the file was last written to, for entries without a time.
    """
    number = int(value) if value.isdigit() and len(value) <= 12 else 0
    if b"/" not in name:
        return client_row(name, number, changed, settings) if number else unknown(name, value)
    parts = split(name)
    triplet = _first_version(number, settings, changed) if number else _later_version(value)
    return triplet_row(*parts, triplet, settings) if parts and triplet else unknown(name, value)


def _first_version(first: int, settings: Settings, changed: int) -> Triplet:
    # It lets through whatever is old enough, so this may have passed.
    passed = changed - first >= settings.delay
    return Triplet(first, first + settings.delay, PASSED, passed=True) if passed else Triplet(first)


def _later_version(value: bytes) -> Triplet | None:
    try:
        return Triplet.unpack(value)
    except ValueError:
        return None
