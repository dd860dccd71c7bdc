"""The file of a BTree: whether libdb can be let near it, and whether each page is one."""

from __future__ import annotations

import os
from struct import unpack_from

from greylist.store.berkeley.environment import META, Damaged

_PAGE_TYPES = {0, 3, 5, 7, 9}
"""P_INVALID (a free page), P_IBTREE, P_LBTREE, P_OVERFLOW and P_BTREEMETA in db_page.h. libdb
makes a zeroed page one of a hash table, and says nothing."""

_FLAGS_AT, _CHECKSUM = 26, 1
"""DBMETA_CHKSUM, in the first page."""

_ENCRYPTION_AT, _FORM = 24, slice(48, 52)
"""The algorithm, and BTM_DUP, BTM_RECNO and so on: all zero in ours and the original's."""

_BTREE_MAGIC = {b"\x62\x31\x05\x00": "little", b"\x00\x05\x31\x62": "big"}


def check_file(path: str) -> bool:
    """Return whether there is a database at the path; False if it is missing or empty.

    libdb ends the process when the page size is 0, so it never sees a file that fails here.

    Raises:
        Damaged: the file is no BTree.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            meta = file.read(META)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return False
    if meta:
        check_meta(meta, size)
    return bool(meta)


def is_btree(meta: bytes) -> bool:
    """Return whether the first bytes of a file say that it is a BTree."""
    return meta[12:16] in _BTREE_MAGIC


def check_meta(meta: bytes, size: int) -> int:
    """Return the page size of a BTree.

    Args:
        meta: the first META bytes of its file.
        size: the bytes of the file.

    Raises:
        Damaged: it is no BTree.
    """
    order = _BTREE_MAGIC.get(meta[12:16])
    if len(meta) < META or order is None:
        raise Damaged("not a Berkeley DB BTree")
    page_size = int.from_bytes(meta[20:24], "little" if order == "little" else "big")
    if page_size not in {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}:
        raise Damaged(f"a page size of {page_size}")
    if size < page_size:
        raise Damaged("less than a page")
    if meta[_ENCRYPTION_AT] or any(meta[_FORM]):
        raise Damaged("a BTree of another form: records, duplicates, several in a file, encrypted")
    return page_size


def drop_partial_page(path: str) -> None:
    """Shorten a BTree to whole pages: the disk was full in the middle of one, which the log has.

    Raises:
        Damaged: the file is no BTree.
    """
    with open(path, "rb+", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        rest = size % check_meta(file.read(META), size)
        if rest:
            file.truncate(size - rest)


def has_checksums(path: str) -> bool:
    """Return whether each page of a BTree has a checksum, so that a torn page is none.

    Raises:
        OSError: the file cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        return bool(file.read(META)[_FLAGS_AT] & _CHECKSUM)


def check_pages(path: str) -> None:
    """See that each page of the file is one: libdb loops for ever on one that is zeroed.

    Raises:
        Damaged: a page does not have its own number, or no type that there is.
    """
    with open(path, "rb", buffering=0) as file:
        meta = file.read(META)
        order = ">" if _BTREE_MAGIC.get(meta[12:16]) == "big" else "<"
        size = unpack_from(f"{order}I", meta, 20)[0]
        first = 0
        file.seek(0)
        while data := file.read(max(size, 1 << 20)):
            for offset in range(0, len(data) - size + 1, size):
                number = unpack_from(f"{order}I", data, offset + 8)[0]
                if number != first or data[offset + 25] not in _PAGE_TYPES:
                    raise Damaged(f"page {first} is not one")
                first += 1
