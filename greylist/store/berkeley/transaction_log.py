"""The log of libdb, read without libdb: asked for a wrong position, it ends its environment.

A log file, as libdb's ``log.h`` and ``db_auto.h`` have it (integers in the order of the machine):

    record :== offset of the record before 4 | length 4 | checksum 4 | body
    body :== type 4 | transaction 4 | position of the transaction's record before 8 | fields

A position is the number of a log file and an offset in it.
"""

from __future__ import annotations

import os
import sys
from operator import mul
from struct import unpack_from

from greylist.store.berkeley.environment import unpack_replacement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    Entry = tuple[bytes, bytes]
    Position = tuple[int, int]

_HEADER = 12
_FIELDS = 16
"""Bytes of a body before its fields."""

_RECORD_MAX = 70_000
"""A record has one page at most, of 64 KiB at most."""

_REGISTER, _CHECKPOINT = 2, 11
"""The types of records that recovery writes: DB___dbreg_register and DB___txn_ckp."""

_ADD_OR_REMOVE, _DEBUG, _SPLIT = 41, 47, 62
"""DB___db_addrem, DB___db_debug and DB___bam_split."""

_ADD_TO_LEAF = 0x105
"""DB_ADD_DUP on a page of type P_LBTREE."""

_PAGE_AT = _FIELDS + 64
"""Where in the body of a split the image of the page is, as it was before."""

_powers: list[int] = []


def log_files(directory: str) -> list[str]:
    """Return the paths of an environment's log files, oldest first; none if it is not there."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [os.path.join(directory, name) for name in names if is_log(name)]


def is_log(name: str) -> bool:
    """Return whether a file name is that of a log file."""
    return name.startswith("log.") and name[4:].isdigit()


def number(path: str) -> int:
    """Return the number of a log file, by which positions name it."""
    return int(path.rpartition(".")[2])


def changes(path: str) -> Iterator[Position]:
    """Yield the positions of a sound log file at which the change of a page may be recorded.

    Raises:
        OSError: the file cannot be read.
    """
    data = _read(path)
    offset = before = 0
    while _fits(data, offset, before):
        before, length = offset, int.from_bytes(data[offset + 4 : offset + 8], sys.byteorder)
        if unpack_from("=I", data, offset + _HEADER)[0] not in {_REGISTER, _CHECKPOINT}:
            yield number(path), offset
        offset += length


def additions(path: str) -> Iterator[Entry]:
    """Yield the entries that a log file, perhaps a damaged one, says were stored, oldest first.

    Raises:
        OSError: the file cannot be read.
    """
    place, key = (0, 0, 0), b""
    for body in _bodies(_read(path)):
        kind, transaction = unpack_from("=II", body)
        if kind == _ADD_OR_REMOVE and len(body) >= _FIELDS + 28:
            operation, _, page, index, _, header = unpack_from("=6I", body, _FIELDS)
            if operation == _ADD_TO_LEAF and not header:  # with one, it is on overflow pages
                item = _field(body, _FIELDS + 24)
                # The value is added right after its key.
                if place == (transaction, page, index - 1) and index % 2:
                    yield key, item
                place, key = (transaction, page, index), item
        elif kind == _DEBUG:
            operation_end = _FIELDS + 4 + len(_field(body, _FIELDS))
            entry = unpack_replacement(_field(body, operation_end + 4))
            if entry:
                yield entry
        elif kind == _SPLIT:
            yield from _of_page(_field(body, _PAGE_AT))


def _of_page(image: bytes) -> Iterator[Entry]:
    from greylist.store.berkeley.salvage import page_entries

    return page_entries(image)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _fits(data: bytes, offset: int, before: int) -> bool:
    """Return whether there is a record at the offset, and this one before it.

    The first one of a file follows the last one of the file before.
    """
    if offset + _HEADER + _FIELDS > len(data):
        return False
    previous, length = unpack_from("=II", data, offset)
    return _HEADER + _FIELDS <= length <= _RECORD_MAX and (not before or previous == before)


def _bodies(data: bytes) -> Iterator[bytes]:
    """Yield the body of each sound record, wherever a damage lets one begin."""
    data = data.rstrip(b"\0") + bytes(_RECORD_MAX)
    offset, end = 0, len(data) - _RECORD_MAX
    while offset < end:
        before, length, checksum = unpack_from("=III", data, offset)
        near = not offset or 0 <= offset - before <= _RECORD_MAX
        if near and _HEADER + _FIELDS <= length <= _RECORD_MAX:
            body = data[offset + _HEADER : offset + length]
            if _checksum(data[offset : offset + 8], body) == checksum:
                yield body
                offset += length
                continue
        offset += 1


def _checksum(lengths: bytes, body: bytes) -> int:
    """Return what libdb's __ham_func4 makes of a body, and LOG_HDR_SUM of the header."""
    if not _powers:
        power = 1
        for _ in range(_RECORD_MAX):
            _powers.append(power)
            power = power * 33 & 0xFFFFFFFF
        _powers.reverse()
    before = int.from_bytes(lengths[:4], sys.byteorder)
    length = int.from_bytes(lengths[4:], sys.byteorder)
    total: int = sum(map(mul, body, _powers[-len(body) :]))
    return total & 0xFFFFFFFF ^ before ^ length


def _field(body: bytes, at: int) -> bytes:
    """Return a field of variable length, or as much of it as there is."""
    return body[at + 4 : at + 4 + int.from_bytes(body[at : at + 4], sys.byteorder)]
