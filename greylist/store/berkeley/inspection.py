"""What is to say about a database's directory, its disk and its files.

Nothing is opened as a database here, and nothing changed: what libdb would stumble over is found
first, and a database that a dead filter left is left for the next filter.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from greylist.privileges import user
from greylist.store import StoreError
from greylist.store.berkeley.backup import has_room
from greylist.store.berkeley.environment import Damaged, identity
from greylist.store.berkeley.maintenance import PATIENCE
from greylist.store.berkeley.ownership import UnclaimedError
from greylist.store.berkeley.pages import check_file
from greylist.store.berkeley.permissions import check, exists
from greylist.store.berkeley.quarantine import copies
from greylist.store.berkeley.reading import Reader
from greylist.store.berkeley.record import boot_identity, same_boot
from greylist.store.berkeley.store import is_sound, load_all
from greylist.system import has_others, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.store import Fact, Wording
    from greylist.store.berkeley.record import Record

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
        self.readable = False

    def before(self) -> Iterator[Fact]:
        """Yield the facts that are known before the entries are read."""
        path = self._path
        directory = os.path.dirname(path)
        try:
            exists(path)
            check(path, load_all, adopt=False, create=False)
        except UnclaimedError as error:
            yield ("warning", "database", str(error), "Nothing to do.")
            return
        except StoreError as error:
            text, _, remedy = str(error).partition("; mend it: ")
            if not os.path.lexists(directory):
                remedy = f"install -d -o {self._account} -m 0700 {quoted(directory)}"
            yield ("error", "directory", text, remedy or "Run this as root.")
            return
        yield self._directory(directory)
        yield from self._disk(directory)
        for copy in copies(path):
            when = self._time(int(copy.rpartition(".")[2]))
            text = f"the database was damaged at {when}: {copy}"
            remedy = f"Look for the cause (disk, memory). Then: rm -r {quoted(copy)}"
            yield ("warning", "database", text, remedy)
        try:
            is_there = check_file(path)
        except Damaged as damage:
            text = f"{path} is damaged: {damage}"
            remedy = "The next request sets it aside and makes a new one; or restore a backup."
            yield ("error", "database", text, remedy)
            return
        if not is_there:
            yield ("ok", "database", f"no {path} yet: the first request makes it", "")
            return
        try:
            record = Reader(path, PATIENCE).record()
        except StoreError as error:
            remedy = "See what that process waits for: each filter waits for it as well."
            yield ("error", "database", str(error), remedy)
            return
        yield from self._left(record)

    def _left(self, record: Record | None) -> Iterator[Fact]:
        """Yield how the last process left the database."""
        path = self._path
        if record and record.attempts > 1:
            text = f"recovered {record.attempts} times in a row: filters die inside the database"
            remedy = "See the mail log for signals and time-outs; after 10 times it is set aside."
            yield ("warning", "database", text, remedy)
        if record and record.dirty:
            text = f"{path} was left in mid-update by process {record.pid}, which died: the next"
            text += " request recovers it"
            remedy = "Nothing to do; the mail log may say what that process died of."
            yield ("warning", "database", text, remedy)
        elif record is None or not is_sound(record, path):
            yield ("ok", "database", f"{path}: {_why_not_ready(record, path)}", "")
        elif not has_room(os.path.getsize(path)):
            text = f"the entries in {path} were not read: there is no room for a copy of it"
            remedy = "TMPDIR=/var/tmp greylist check\nOr name another directory with room."
            yield ("warning", "database", text, remedy)
        else:
            self.readable = True

    def _directory(self, directory: str) -> Fact:
        status = os.stat(directory)
        mode = status.st_mode & 0o7777
        if (status.st_uid == 0 or mode & 0o077) and has_others(self._path):
            text = f"{directory} has other files in it, and the database should have one of its own"
            remedy = "Have database = name a file in another directory."
            return ("warning", "directory", text, remedy)
        if status.st_uid == 0:
            text = f"{directory} belongs to root, as whom spawn(8) runs nothing"
            return ("warning", "directory", text, f"chown -R {self._account} {quoted(directory)}")
        if mode & 0o077:
            text = f"{directory} can be read by others (mode {mode:04o}): who writes to whom"
            return ("warning", "directory", text, f"chmod 0700 {quoted(directory)}")
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

    def unread(self, error: StoreError) -> Fact:
        """Return what it means that the entries could not be read."""
        remedy = "See the mail log: a request that meets damage has the database set aside."
        return ("error", "database", str(error), remedy)

    def after(self, number: int) -> Iterator[Fact]:
        """Yield the facts that are known after this number of entries has been read."""
        path = self._path
        size = self._size(os.stat(path).st_size)
        noun = "entry" if number == 1 else "entries"
        yield ("ok", "database", f"{path}: {number} {noun} in {size}, {_version(path)}", "")


def _why_not_ready(record: Record | None, path: str) -> str:
    """Return why the next request has to make a database ready for use before it is read."""
    then = "the next request makes it ready for use"
    if record is None:
        return f"its lock file was lost; {then}"
    try:
        if record.files == identity(path) and not same_boot(record.boot, boot_identity()):
            return f"no request has come since this machine started; {then}"
    except OSError:
        pass
    return f"it has been put here since the last request, without its log; {then}"


def _version(path: str) -> str:
    """Return the form of the file, from the first page that check_file has found good."""
    with open(path, "rb") as file:
        meta = file.read(72)
    order = "little" if meta[12] == 0x62 else "big"
    version = int.from_bytes(meta[16:20], "little" if order == "little" else "big")
    # Byte 26 of a meta-data page holds its flags; the first one says that pages have checksums.
    sums = "with" if meta[26] & 1 else "without"
    return f"BTree version {version}, {sums} checksums"
