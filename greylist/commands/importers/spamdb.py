"""What OpenBSD's spamdb(8) prints of spamd's database.

line :== "WHITE|" address "|||" first "|" passed "|" expires "|" blocked "|" passes
       | "GREY|" address ["|" helo] "|" sender "|" recipient "|" first "|" passes_at "|" expires
         "|" blocked "|" passes
       | "TRAPPED|" address "|" expires | "SPAMTRAP|" recipient

Times are in seconds since the epoch. A host that is white has come back once, and has not been
greylisted since; ``passes`` is how often spamlogd(8) has seen it since.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.commands.importers.rows import Row, client_row, triplet_row, unknown
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings

_LINE = re.compile(rb"(?:WHITE|GREY|TRAPPED|SPAMTRAP)\|[^|\s]+(?:\|.*)?")
_KEPT = 36 * 86400
"""Seconds that a white host is kept after it was last seen (``whiteexp``, by default)."""

_TRAPS = (b"TRAPPED", b"SPAMTRAP")


def is_list(head: bytes) -> bool:
    """Return whether a file that begins like this is spamdb's."""
    lines = [line for line in head.split(b"\n")[:-1] if line.strip()]
    return bool(lines) and all(_LINE.fullmatch(line.rstrip(b"\r")) for line in lines)


def rows(lines: Iterable[bytes], settings: Settings, changed: int) -> Iterator[Row]:
    """Yield what becomes of each line.

    Args:
        lines: of the file.
        settings: say which network a client belongs to.
        changed: when the file was written.
    """
    for line in lines:
        text = line.strip()
        if text:
            yield _row(text, settings, changed)


def _row(text: bytes, settings: Settings, changed: int) -> Row:
    kind, *fields = text.split(b"|")
    if kind in _TRAPS:
        return Row("traps", origin=fields[0])
    times = [int(field) if field.isdigit() and len(field) <= 12 else -1 for field in fields[-5:]]
    if min(times) < 0 or len(fields) not in {8, 9}:
        return unknown(text)
    first, passed, expires, blocked, passes = times
    if kind == b"WHITE":
        last = min(max(first, passed, expires - _KEPT), changed)
        return client_row(fields[0], passes + 1, last, settings)
    sender, recipient = (_bare(field) for field in fields[-7:-5])
    triplet = Triplet(first, count=max(blocked - 1, 0))
    return triplet_row(fields[0], sender, recipient, triplet, settings)


def _bare(address: bytes) -> bytes:
    return address.removeprefix(b"<").removesuffix(b">")
