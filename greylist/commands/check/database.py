"""The doctor on the database: its directory, the disk, the files, and each entry."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.check.census import Census
from greylist.commands.check.report import Finding
from greylist.commands.session import kept
from greylist.store import StoreError
from greylist.store.berkeley.environment import Damaged
from greylist.store.berkeley.ownership import UnclaimedError
from greylist.store.berkeley.pages import check_file
from greylist.store.berkeley.permissions import check, lock_path, user
from greylist.store.berkeley.quarantine import copies
from greylist.store.berkeley.record import SIZE, Record
from greylist.store.berkeley.store import load_all

if TYPE_CHECKING:
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings
    from greylist.store import Maintenance

LOW = 256 << 20
"""Bytes of free disk below which it is time to do something."""

NONE = 16 << 20
"""Bytes of free disk below which nothing can be relied on."""


def examine(settings: Settings) -> Findings:
    """Yield what is to say about the database, as the directory's owner sees it."""
    database = kept(settings)
    with database.acting():
        yield from _findings(settings, database)


def _findings(settings: Settings, database: Maintenance) -> Findings:
    path = settings.database
    directory = os.path.dirname(path)
    try:
        database.exists()
        check(path, load_all, adopt=False)
    except UnclaimedError as error:
        yield Finding("warning", "database", str(error), "Nothing to do.")
        return
    except StoreError as error:
        text, _, remedy = str(error).partition("; mend it: ")
        if not os.path.exists(directory):
            remedy = f"install -d -o greylist -g greylist -m 0700 {directory}"
        yield Finding("error", "directory", text, remedy)
        return
    yield _directory(directory)
    yield from _disk(directory)
    for copy in copies(path):
        when = output.local_time(int(copy.rpartition(".")[2]))
        text = f"the database was damaged at {when}: {copy}"
        remedy = f"Look for the cause (disk, memory). Then: rm -r {copy}"
        yield Finding("warning", "database", text, remedy)
    try:
        exists = check_file(path)
    except Damaged as damage:
        text = f"{path} is damaged: {damage}"
        remedy = "The next request sets it aside and makes a new one; or restore a backup."
        yield Finding("error", "database", text, remedy)
        return
    if not exists:
        yield Finding("ok", "database", f"no {path} yet: the first request makes it")
        return
    yield from _record(path)
    yield from _entries(settings)


def _directory(directory: str) -> Finding:
    status = os.stat(directory)
    mode = status.st_mode & 0o7777
    if status.st_uid == 0:
        text = f"{directory} belongs to root, as whom spawn(8) runs nothing"
        return Finding("warning", "directory", text, f"chown -R greylist {directory}")
    if mode & 0o077:
        text = f"{directory} can be read by others (mode {mode:04o}): who writes to whom"
        return Finding("warning", "directory", text, f"chmod 0700 {directory}")
    return Finding("ok", "directory", f"{directory}, mode {mode:04o}, owner {user(status.st_uid)}")


def _disk(directory: str) -> Findings:
    space = os.statvfs(directory)
    free = space.f_bavail * space.f_frsize
    text = f"{output.size(free)} free for {directory}"
    if space.f_files and space.f_favail < 100:
        text, free = f"{space.f_favail} inodes free for {directory}", 0
    if free >= LOW:
        yield Finding("ok", "disk", text)
    else:
        level = "error" if free < NONE else "warning"
        yield Finding(level, "disk", text, "Make room; a full disk stops greylisting.")


def _record(path: str) -> Findings:
    """Yield what the lock file says about deaths of filters."""
    try:
        with open(lock_path(path), "rb") as file:
            record = Record.unpack(file.read(SIZE))
    except (OSError, ValueError):
        return
    if record.attempts > 1:
        text = f"recovered {record.attempts} times in a row: filters die inside the database"
        remedy = "See the mail log for signals and time-outs; after 10 times it is set aside."
        yield Finding("warning", "database", text, remedy)


def _entries(settings: Settings) -> Findings:
    """Read every entry; Berkeley DB checks each page on the way."""
    path = settings.database
    began = copies(path)
    try:
        census = Census(settings)
    except StoreError as error:
        yield Finding("error", "database", str(error), "See the mail log for what came before.")
        return
    if copies(path) != began:
        text = f"{path} was damaged, and has just been set aside as {copies(path)[-1]}"
        yield Finding("error", "database", text, "Look for the cause (disk, memory).")
    yield from census.findings()
    size = output.size(os.stat(path).st_size)
    yield Finding("ok", "database", f"{path}: {census.number} entries in {size}, {_version(path)}")


def _version(path: str) -> str:
    """Return the form of the file, from the first page that check_file has found good."""
    with open(path, "rb") as file:
        meta = file.read(72)
    order = "little" if meta[12] == 0x62 else "big"
    version = int.from_bytes(meta[16:20], "little" if order == "little" else "big")
    # Byte 26 of a meta-data page holds its flags; the first one says that pages have checksums.
    sums = "with" if meta[26] & 1 else "without"
    return f"BTree version {version}, {sums} checksums"
