"""What is to say about a database's directory, its disk and its files, before entries are read.

Nothing is opened as a database here: what libdb would stumble over is found first.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from greylist.privileges import user
from greylist.store import StoreError
from greylist.store.berkeley.environment import Damaged
from greylist.store.berkeley.ownership import UnclaimedError
from greylist.store.berkeley.pages import check_file
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.quarantine import copies
from greylist.store.berkeley.record import SIZE, Record
from greylist.store.berkeley.store import load_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.store import Fact, Wording

LOW = 256 << 20
"""Bytes of free disk below which it is time to do something."""

NONE = 16 << 20
"""Bytes of free disk below which nothing can be relied on."""


class Inspection:
    """One look at a database.

    Attributes:
        readable: whether there is one whose entries can be read; known after ``before``.
    """

    def __init__(self, path: str, account: str, wording: Wording) -> None:
        """Args: path: the database's; account: the filter's user; wording: of sizes and times."""
        self._path = path
        self._account = account
        self._size, self._time = wording
        self._copies: list[str] = []
        self.readable = False

    def before(self) -> Iterator[Fact]:
        """Yield what is to say before entries are read."""
        path = self._path
        directory = os.path.dirname(path)
        try:
            check(path, load_all, adopt=False, create=False)
        except UnclaimedError as error:
            yield ("warning", "database", str(error), "Nothing to do.")
            return
        except StoreError as error:
            text, _, remedy = str(error).partition("; mend it: ")
            if not os.path.exists(directory):
                remedy = f"install -d -o {self._account} -m 0700 {directory}"
            yield ("error", "directory", text, remedy)
            return
        yield self._directory(directory)
        yield from self._disk(directory)
        self._copies = copies(path)
        for copy in self._copies:
            when = self._time(int(copy.rpartition(".")[2]))
            text = f"the database was damaged at {when}: {copy}"
            remedy = f"Look for the cause (disk, memory). Then: rm -r {copy}"
            yield ("warning", "database", text, remedy)
        try:
            exists = check_file(path)
        except Damaged as damage:
            text = f"{path} is damaged: {damage}"
            remedy = "The next request sets it aside and makes a new one; or restore a backup."
            yield ("error", "database", text, remedy)
            return
        if not exists:
            yield ("ok", "database", f"no {path} yet: the first request makes it", "")
            return
        yield from _record(path)
        self.readable = True

    def _directory(self, directory: str) -> Fact:
        status = os.stat(directory)
        mode = status.st_mode & 0o7777
        if status.st_uid == 0:
            text = f"{directory} belongs to root, as whom spawn(8) runs nothing"
            return ("warning", "directory", text, f"chown -R {self._account} {directory}")
        if mode & 0o077:
            text = f"{directory} can be read by others (mode {mode:04o}): who writes to whom"
            return ("warning", "directory", text, f"chmod 0700 {directory}")
        return ("ok", "directory", f"{directory}, mode {mode:04o}, owner {user(status.st_uid)}", "")

    def _disk(self, directory: str) -> Iterator[Fact]:
        space = os.statvfs(directory)
        free = space.f_bavail * space.f_frsize
        text = f"{self._size(free)} free for {directory}"
        if space.f_files and space.f_favail < 100:
            text, free = f"{space.f_favail} inodes free for {directory}", 0
        if free >= LOW:
            yield ("ok", "disk", text, "")
        else:
            level = "error" if free < NONE else "warning"
            yield (level, "disk", text, "Make room; a full disk stops greylisting.")

    def after(self, number: int) -> Iterator[Fact]:
        """Yield what reading so many entries has shown."""
        path = self._path
        if copies(path) != self._copies:
            text = f"{path} was damaged, and has just been set aside as {copies(path)[-1]}"
            yield ("error", "database", text, "Look for the cause (disk, memory).")
        size = self._size(os.stat(path).st_size)
        yield ("ok", "database", f"{path}: {number} entries in {size}, {_version(path)}", "")


def _record(path: str) -> Iterator[Fact]:
    """Yield what the lock file says about deaths of filters."""
    try:
        with open(lock_path(path), "rb") as file:
            record = Record.unpack(file.read(SIZE))
    except (OSError, ValueError):
        return
    if record.attempts > 1:
        text = f"recovered {record.attempts} times in a row: filters die inside the database"
        remedy = "See the mail log for signals and time-outs; after 10 times it is set aside."
        yield ("warning", "database", text, remedy)


def _version(path: str) -> str:
    """Return the form of the file, from the first page that check_file has found good."""
    with open(path, "rb") as file:
        meta = file.read(72)
    order = "little" if meta[12] == 0x62 else "big"
    version = int.from_bytes(meta[16:20], "little" if order == "little" else "big")
    # Byte 26 of a meta-data page holds its flags; the first one says that pages have checksums.
    sums = "with" if meta[26] & 1 else "without"
    return f"BTree version {version}, {sums} checksums"
