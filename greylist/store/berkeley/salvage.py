"""The readable entries of a damaged BTree, straight from the bytes of its pages.

A leaf page, of which libdb's ``db_page.h`` tells (integers in the byte order of the machine
that made the file; SIZEOF_PAGE is 26, and 6 more with a checksum):

    LSN 8 | number 4 | previous 4 | next 4 | entries 2 | lowest item 2 | level 1 | type 1
    [unused 2 | checksum 4] | offset of each item, 2 | free space | items

    item :== length 2 | 1 | bytes              keys and values take turns
    item :== unused 2 | 3 | unused 1 | first overflow page 4 | length 4

What is unused is whatever stood in the memory before, and so is the checksum of a page that has
not been written yet: it can look like offsets. libdb puts each value right before its key, which
tells the offsets from what only looks like them, and a damaged page from what is none.

Nothing here needs the first page, the tree above the leaves or a sound checksum, so a cache
file of the environment, which holds pages newer than those on the disk, can be read as well.
"""

from __future__ import annotations

import io
import os
import re
import time
from struct import unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_CHUNK = 1 << 20
_PAGE_MAX = 65536
_LEVEL_AND_TYPE = re.compile(rb"\x01(?=\x05)")  # level 1, P_LBTREE
_LEVEL_AT = 24
_PAGE_MIN = 512
_IN_CACHE = 4
"""Where a page may begin: a database's are whole ones of at least 512 bytes, and what looks like
one elsewhere is left from other use of the memory; a cache file has pages at any multiple of 4."""
_OVERFLOW = 7  # P_OVERFLOW
_INDEX_AT = (26, 32)  # without and with a checksum
_PLAIN, _ON_OVERFLOW_PAGES, _DELETED = 1, 3, 0x80  # B_KEYDATA, B_OVERFLOW, B_DELETE

_WHOLE = 0.25
"""Entries that are whole of a page that is one at least, beside its offsets: half of them."""

_ON_OVERFLOW_SIZE = 12
_ALIGNED = 4  # each item begins at a multiple of this, and takes one at least

Entry = tuple[bytes, bytes]
Position = tuple[int, int]
"""A log sequence number: a log file, and an offset in it."""


def clock(files: list[str]) -> int:
    """Return the time, in seconds since the epoch, or that of the newest file.

    Under a clock that was set back, everything in there would seem to be from the future.
    """
    return int(max([time.time(), *(os.stat(file).st_mtime for file in files)]))


def scan(path: str) -> Iterator[Entry]:
    """Yield the keys and values found in a file, some perhaps more than once, or stale.

    Raises:
        OSError: the file cannot be opened; what cannot be read of it is left out.
    """
    for _, entries in leaves(path):
        yield from entries


def leaves(path: str) -> Iterator[tuple[Position, Iterator[Entry]]]:
    """Yield each leaf page of a file: its last change's position in the log, and its entries.

    Raises:
        OSError: as above.
    """
    step = _IN_CACHE if "__db." in path.rpartition("/")[2] else _PAGE_MIN
    with open(path, "rb", buffering=0) as file:
        length = file.seek(0, 2)
        for start in range(0, length, _CHUNK):
            data = _read(file, start, _CHUNK + _PAGE_MAX)
            for found in _LEVEL_AND_TYPE.finditer(data, _LEVEL_AT, _CHUNK + _LEVEL_AT):
                base = found.start() - _LEVEL_AT
                if base % step == 0:
                    position = unpack_from("=II", data, base)
                    yield position, _leaf(file, data, base, start + base)


def _read(file: BinaryIO, position: int, size: int) -> bytes:
    try:
        file.seek(position)
        return file.read(size)
    except OSError:  # a bad spot on the disk
        return b""


def page_entries(image: bytes) -> Iterator[Entry]:
    """Yield the entries of a leaf page, but for those that are on overflow pages."""
    if len(image) >= _PAGE_MIN and image[_LEVEL_AT : _LEVEL_AT + 2] == b"\1\5":
        yield from _leaf(io.BytesIO(), image, 0, 0)


def _leaf(file: BinaryIO, data: bytes, base: int, position: int) -> Iterator[Entry]:
    """Yield the entries of the leaf page at this place in the data, if there is one."""
    readings = [
        (_joined(data, base, order, offsets) / len(offsets), order, index_at, offsets)
        for order in "<>"
        for index_at in _INDEX_AT
        if (offsets := _offsets(data, base, order, index_at))
    ]
    # A share, not a count: of the many offsets of a wrong reading some are joined by chance.
    share, order, index_at, offsets = max(
        readings, key=lambda reading: reading[0], default=(0, "", 0, ())
    )
    if share < _WHOLE:
        return
    number = unpack_from(f"{order}I", data, base + 8)[0]
    page_size = position // number if number else 0
    pages = _Pages(file, order, index_at, page_size)
    items = [_item(pages, data, base + offset) for offset in offsets]
    for key, value in zip(items[::2], items[1::2], strict=True):
        if key and value is not None:
            yield key, value


def _offsets(data: bytes, base: int, order: str, index_at: int) -> tuple[int, ...]:
    """Return what would be the offsets of a leaf page's items, or none if it cannot be."""
    if base + index_at > len(data):
        return ()
    entries, lowest = unpack_from(f"{order}HH", data, base + 20)
    end = index_at + 2 * entries
    if entries % 2 or end > lowest or lowest + entries * _ALIGNED > _PAGE_MAX:
        return ()
    if base + end > len(data):
        return ()
    return unpack_from(f"{order}{entries}H", data, base + index_at)


def _joined(data: bytes, base: int, order: str, offsets: tuple[int, ...]) -> int:
    """Count the entries that lie where items do, and whose value ends where the key begins."""
    lowest = unpack_from(f"{order}H", data, base + 22)[0]
    count = 0
    for key, value in zip(offsets[::2], offsets[1::2], strict=True):
        if value >= lowest and base + value + 3 <= len(data):
            size, kind = unpack_from(f"{order}HB", data, base + value)
            length = _ON_OVERFLOW_SIZE if kind & ~_DELETED == _ON_OVERFLOW_PAGES else 3 + size
            count += value + length + -length % _ALIGNED == key
    return count


class _Pages:
    """The overflow pages of a file."""

    def __init__(self, file: BinaryIO, order: str, data_at: int, page_size: int) -> None:
        self.file = file
        self.order = order
        self.data_at = data_at
        self.page_size = page_size

    def chain(self, number: int, length: int) -> bytes | None:
        """Return the bytes kept on a chain of overflow pages, or None if it is broken."""
        if length > _PAGE_MAX or not self.page_size:
            return None
        value = b""
        while number and len(value) < length:
            page = _read(self.file, number * self.page_size, self.page_size)
            if len(page) < self.data_at or page[25] != _OVERFLOW:
                return None
            number, _, size = unpack_from(f"{self.order}IHH", page, 16)
            if not size:
                return None
            value += page[self.data_at : self.data_at + size]
        return value if len(value) == length else None


def _item(pages: _Pages, data: bytes, at: int) -> bytes | None:
    """Return a key or value, or None if it is deleted or damaged."""
    if at + 3 > len(data):
        return None
    size, kind = unpack_from(f"{pages.order}HB", data, at)
    if kind == _PLAIN:
        item = data[at + 3 : at + 3 + size]
        return item if len(item) == size else None
    if kind == _ON_OVERFLOW_PAGES and at + 12 <= len(data):
        return pages.chain(*unpack_from(f"{pages.order}II", data, at + 4))
    return None
