"""Whose the file named by ``database`` is: ours, one to be taken over, or another program's.

A wrong path, or settings that somebody else wrote, can name any file. What was never ours is
left as it is, to the byte; for what was, an environment beside it speaks, or the record in its
lock file. A BTree of neither is the original's, a backup or another host's, and may become ours.

It is asked before a database without an environment is opened, so this is no part of the
filter's ordinary start.
"""

from __future__ import annotations

import os
import re

from greylist.store import StoreError
from greylist.store.berkeley.environment import (
    META,
    Damaged,
    home,
    is_part,
    read_head,
    unique_number,
)
from greylist.store.berkeley.pages import check_meta
from greylist.store.berkeley.purge import RECORD
from greylist.store.berkeley.record import SIZE, Record
from greylist.store.berkeley.salvage import page_entries

_KINDS = {
    b"\x61\x15\x06\x00": "a Berkeley DB hash",
    b"\x00\x06\x15\x61": "a Berkeley DB hash",
    b"\x53\x22\x04\x00": "a Berkeley DB queue",
    b"\x00\x04\x22\x53": "a Berkeley DB queue",
}
"""The magic numbers at byte 12 of a database's first page (file(1) knows them too)."""

_SAMPLE = 1 << 20
"""Bytes of a BTree in which an entry of ours is looked for."""

_ENTRY = re.compile(
    rb"""
    (?: (?: [0-9]+(?:\.[0-9]+){3} | [0-9a-f]*:[0-9a-f]*:[0-9a-f:.]* | unknown) / .* / .*
    |   / (?: client | pool | reply | sender) / .*
    )
    \n [1-9][0-9]{8,} (?: /[0-9]+/[0-9]+)?
    """,
    re.DOTALL | re.VERBOSE,
)
"""A key and a value as we, or a greylist.pl, have them: a client's address and the rest of a
triplet, or a kind of entry of ours; and when it was first seen. Others have paths and URLs for
keys, and numbers for values."""

_ELSEWHERE = "mend it: have database = name another file, or move this one away"


class UnclaimedError(StoreError):
    """The database may become ours by a request, not by a command that only reads."""


def claim(path: str, adopt: bool) -> None:
    """Check that the file at the path, and the places beside it, are ours to use.

    Nothing is changed, not even a time of access.

    Args:
        path: the database, which need not exist.
        adopt: whether a BTree that has never been used here may be taken over.

    Raises:
        StoreError: it is somebody else's; or it may become ours, but not now.
        OSError: it cannot be read.
    """
    objection = _objection(path, adopt)
    # Looked at last: a filter that makes the database makes its environment first.
    if objection and not _is_environment(home(path)):
        raise objection


def _objection(path: str, adopt: bool) -> StoreError | None:
    """Return why this is not to be touched if it has no environment of ours, or None."""
    for beside in (home(path), f"{path}.lock"):
        if _is_occupied(beside):
            return StoreError(f"{beside} is in the way, and was never greylist's; {_ELSEWHERE}")
    try:
        head, status = read_head(path, META)
    except FileNotFoundError:
        return None
    if _is_in_record(path, head, status):
        return None
    kind = _kind(head, status.st_size)
    if kind:
        return StoreError(f"{path} is {kind}, and was never greylist's; {_ELSEWHERE}")
    if status.st_nlink > 1:
        return StoreError(
            f"{path} has another name (a hard link), under which it would change as well; "
            f"mend it: cp -p {path} {path}.copy && mv {path}.copy {path}"
        )
    return _objection_to_btree(path, adopt)


def _objection_to_btree(path: str, adopt: bool) -> StoreError | None:
    directory = os.path.dirname(path)
    others = sorted(name for name in os.listdir(directory) if is_part(name))
    if others:
        return StoreError(
            f"{path} belongs to a program that keeps its log in {directory} ({others[0]}); "
            f"mend it: have database = name another file, then: greylist import {path}"
        )
    if not _has_our_entries(path):
        return StoreError(f"{path} has another program's entries, and no triplets; {_ELSEWHERE}")
    if adopt:
        return None
    return UnclaimedError(
        f"{path} has not been used by greylist yet (a backup, another host's, greylist.pl's): "
        "the first request takes it over, and so do greylist load and greylist import"
    )


def _has_our_entries(path: str) -> bool:
    """Return whether a BTree has a triplet or our record among its first entries, or is empty.

    In a greylist's, the first leaf is near the beginning, and no entry is on overflow pages.
    """
    data, status = read_head(path, _SAMPLE)
    size = check_meta(data[:META], status.st_size)
    pages = [data[start : start + size] for start in range(size, len(data), size)]
    if status.st_size <= len(data) and not any(map(_has_items, pages)):
        return True
    entries = (entry for page in pages for entry in page_entries(page))
    return any(key == RECORD or _ENTRY.fullmatch(b"%s\n%s" % (key, v)) for key, v in entries)


def _has_items(page: bytes) -> bool:
    """Return whether a page is a leaf of a BTree with anything on it."""
    return page[24:26] == b"\1\5" and any(page[20:22])


def _is_environment(directory: str) -> bool:
    try:
        names = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any(is_part(name.removeprefix("old.")) for name in names)


def _is_occupied(beside: str) -> bool:
    """Return whether something else stands where our environment or our lock file would be."""
    is_lock = beside.endswith(".lock")
    try:
        # Not asked first whether it is a directory: another filter may be making it just now.
        return bool(os.listdir(beside)) or is_lock
    except NotADirectoryError:
        pass
    except FileNotFoundError:
        return False
    try:
        data, status = read_head(beside, SIZE)
        if data.strip(b"\0"):
            Record.unpack(data)
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return not is_lock or status.st_size > SIZE


def _is_in_record(path: str, head: bytes, status: os.stat_result) -> bool:
    """Return whether the lock file's record is about this file, or about a copy of it."""
    try:
        record = Record.unpack(read_head(f"{path}.lock", SIZE)[0])
    except (FileNotFoundError, ValueError):
        return False
    number, _, unique = record.files.partition(b",")
    if number == b"%d" % status.st_ino:
        return True
    return status.st_nlink == 1 and unique.endswith(b"," + unique_number(head))


def _kind(head: bytes, size: int) -> str:
    """Return the kind of a file that is no BTree, for people; an empty text if it is one."""
    if not head:
        return "empty"
    if head.startswith(b"SQLite format 3\0"):
        return "an SQLite database"
    try:
        check_meta(head, size)
    except Damaged as damage:
        return _KINDS.get(head[12:16], f"no database ({damage})")
    return ""
