"""milter-greylist's ``greylist.db``, a text in spite of its name (its ``dump.c``, 1.x to 4.6).

line  :== address from recipient time [" AUTO"]  ["#" date]
        | address from recipient time tarpit " TARPIT"  ["#" date]

Of a triplet that waits, the time is when it will be let through; of one that has passed
(AUTO), when that will be forgotten. When it was first seen, or last, is not said.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.commands.importers.rows import PASSED, Row, triplet_row, unknown
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.settings import Settings

_TITLE = b"# milter-greylist databases"
_COMMENT = re.compile(rb"(?:^|\s)#.*", re.DOTALL)
_LINE = re.compile(rb"([0-9.]+|[0-9a-fA-F:.]+(?:%\w+)?)\s+(\S+)\s+(\S+)\s+(\d{1,12})\s*(.*)")


def is_database(head: bytes) -> bool:
    """Return whether a file that begins like this is milter-greylist's."""
    if _TITLE in head:
        return True
    lines = [line for line in head.split(b"\n")[:-1] if line.strip() and line[:1] != b"#"]
    return bool(lines) and all(_LINE.fullmatch(_COMMENT.sub(b"", line)) for line in lines)


def rows(lines: Iterable[bytes], settings: Settings, changed: int) -> Iterator[Row]:
    """Yield what becomes of each line.

    Args:
        lines: of the file.
        settings: say which network a client belongs to, and how long a triplet waits.
        changed: when the file was written, which is when the triplets in it were valid.
    """
    for line in lines:
        text = _COMMENT.sub(b"", line).strip()
        if text:
            yield _row(text, settings, changed)


def _row(text: bytes, settings: Settings, changed: int) -> Row:
    found = _LINE.fullmatch(text)
    if found is None:
        return unknown(text)
    address, sender, recipient, time, rest = found.groups()
    moment = int(time)
    if rest.upper() == b"AUTO":
        if moment < changed:
            return Row("expired")
        triplet = Triplet(max(changed - settings.delay, 1), changed, PASSED, passed=True)
    else:
        triplet = Triplet(max(moment - settings.delay, 1))
    return triplet_row(
        address.partition(b"%")[0], _bare(sender), _bare(recipient), triplet, settings
    )


def _bare(address: bytes) -> bytes:
    return address.removeprefix(b"<").removesuffix(b">")
