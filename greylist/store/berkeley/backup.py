"""The database as it is at one moment, copied while requests go on.

It is Berkeley DB's hot backup: copy the log, then the database piece by piece, then the log
again, and recover the copy from the first log on. A page that was copied before it changed is
brought up to date by the log; the moment is that of the last copy of the log. Each piece is
read under the lock, so that no page is torn and no request waits longer than for a piece.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist import temporary
from greylist.store import StoreError
from greylist.store.batches import PAUSE
from greylist.store.berkeley.environment import (
    CACHE,
    LOG_FILE,
    Damaged,
    db,
    home,
    open_database,
)
from greylist.store.berkeley.pages import check_pages, drop_partial_page
from greylist.store.berkeley.transaction_log import log_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from greylist.store.berkeley.reading import Reader

PIECE = 1 << 18
"""Bytes read under the lock at once; a multiple of every page size."""

ATTEMPTS = 5
"""Copies that are begun before giving up: a log may come and go between two pieces."""


@contextmanager
def snapshot(reader: Reader, path: str) -> Iterator[Iterator[tuple[bytes, bytes]]]:
    """Yield the entries of the database, in the order of their keys, as of one moment.

    Args:
        reader: has the database's lock; a process has been in the database since the boot, and
            left it sound.
        path: the database.

    Raises:
        StoreError: there is no room for the copy, or it could not be made.
    """
    with temporary.directory("greylist-") as directory:
        copy = os.path.join(directory, os.path.basename(path))
        try:
            _copy_whole(reader, path, copy)
        except OSError as error:
            raise StoreError(f"cannot copy {path} to {directory}: {error.strerror}") from error
        environment = database = None
        try:
            drop_partial_page(copy)
            environment = _recover(copy)
            check_pages(copy)
            database = open_database(environment, copy)
            yield _entries(database)
        except (db.DBError, Damaged) as error:
            raise StoreError(f"{path} is damaged: {error.args[-1]}") from error
        finally:
            if database is not None:
                database.close()
            if environment is not None:
                environment.close()


def _copy_whole(reader: Reader, path: str, copy: str) -> None:
    """Copy until no log is missing."""
    for _ in range(ATTEMPTS):
        shutil.rmtree(home(copy), ignore_errors=True)
        os.mkdir(home(copy))
        first = reader.locked(lambda: _logs(path)[0])
        _copy(reader, path, copy)
        if _has_whole_log(copy, first):
            return
    raise StoreError(f"{path} changes too fast to be copied; try again later")


def _copy(reader: Reader, path: str, copy: str) -> None:
    """Copy the database and all of the log that its pages may need.

    Under the lock is only read: writing may have to wait for the disk.
    """
    with open(path, "rb", buffering=0) as source, open(copy, "wb", buffering=0) as target:
        size = os.fstat(source.fileno()).st_size
        if not has_room(size):
            raise StoreError(f"no room for a copy of {path} in {tempfile.gettempdir()}")
        # What the file grows by meanwhile is in the log.
        for offset in range(0, size, PIECE):
            piece, logs = reader.locked(_piece(path, copy, source.fileno(), offset))
            os.pwrite(target.fileno(), piece, offset)
            # Little by little: much unwritten data would make the filters' own syncs wait for it.
            os.fdatasync(target.fileno())
            _write_logs(copy, logs)
            time.sleep(PAUSE)
        _write_logs(copy, reader.locked(lambda: _read_logs(path, copy, all=True)))
        # A database that was set aside meanwhile has taken its log along.
        if os.stat(path).st_ino != os.fstat(source.fileno()).st_ino:
            raise StoreError(f"{path} was replaced meanwhile; try again")


def has_room(size: int) -> bool:
    """Return whether there is room for a copy of a database of so many bytes, and of its log."""
    space = os.statvfs(tempfile.gettempdir())
    return space.f_bavail * space.f_frsize >= size + 8 * LOG_FILE


def _piece(
    path: str, copy: str, source: int, offset: int
) -> Callable[[], tuple[bytes, dict[str, bytes]]]:
    """Return a function that reads a piece of the database, and the log files that are complete."""
    return lambda: (os.pread(source, PIECE, offset), _read_logs(path, copy))


def _read_logs(path: str, copy: str, all: bool = False) -> dict[str, bytes]:
    """Return the log files that have not been copied, without the last one, which still grows.

    Old ones are removed at checkpoints, so each is copied while it is there.
    """
    names = _logs(path)
    logs = {}
    for name in names if all else names[:-1]:
        if not os.path.exists(os.path.join(home(copy), name)):
            with open(os.path.join(home(path), name), "rb") as file:
                logs[name] = file.read()
    return logs


def _write_logs(copy: str, logs: dict[str, bytes]) -> None:
    for name, data in logs.items():
        with open(os.path.join(home(copy), name), "wb") as file:
            file.write(data)


def _logs(path: str) -> list[str]:
    return [os.path.basename(log) for log in log_files(home(path))]


def _has_whole_log(copy: str, first: str) -> bool:
    """Return whether all log files are there from the one that was the first on."""
    names = _logs(copy)
    numbers = [int(name[4:]) for name in names]
    return names[0] == first and numbers[-1] - numbers[0] + 1 == len(numbers)


def _recover(copy: str) -> Any:
    """Return the environment of the copy, all of its log being applied to it."""
    environment = db.DBEnv()
    environment.set_cachesize(0, CACHE)
    environment.set_lg_max(LOG_FILE)
    flags = db.DB_INIT_MPOOL | db.DB_INIT_LOG | db.DB_INIT_TXN
    environment.open(home(copy), flags | db.DB_CREATE | db.DB_PRIVATE | db.DB_RECOVER_FATAL)
    return environment


def _entries(database: Any) -> Iterator[tuple[bytes, bytes]]:
    cursor = database.cursor()
    try:
        last = b""
        entry = cursor.first()
        while entry:
            if entry[0] < last:
                raise Damaged("its entries are out of order")
            last = entry[0]
            yield entry
            entry = cursor.next()
    finally:
        cursor.close()
