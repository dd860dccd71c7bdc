"""The Berkeley DB environment: one BTree, with a log that survives its writers.

Beside ``greylist.db`` stands ``greylist.db.env`` with the log and the shared regions. It is
transactional but has no lock subsystem: whoever calls in here holds our own lock.
"""

from __future__ import annotations

import os
import sys
import time

from bsddb3 import db

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CACHE = 4 << 20
"""Bytes of the cache that all filters share."""

LOG_FILE = 1 << 20
"""Bytes of one log file."""

CHECKPOINT_KBYTES = 1024
CHECKPOINT_MINUTES = 5
"""A checkpoint is due after this much log, or this long."""

_OLD = "old."
"""Before the name of a region of a generation that died."""

_PAGE_TYPES = {0, 3, 5, 7, 9}
"""P_INVALID (a free page), P_IBTREE, P_LBTREE, P_OVERFLOW and P_BTREEMETA in db_page.h. libdb
makes a zeroed page one of a hash table, and says nothing."""

_NO_CHANGES = {2, 11}
"""The types of log records that recovery writes: DB___dbreg_register and DB___txn_ckp."""

_REGIONS = {"__db.001": 2 << 20, "__db.002": 1 << 20, "__db.003": CACHE * 3 // 2}
"""Bytes to which the files of the shared regions may grow: environment, log and cache."""

_BTREE_MAGIC = {b"\x62\x31\x05\x00": "little", b"\x00\x05\x31\x62": "big"}
_META = 512
"""Bytes of a database's first page that tell what it is: libdb never makes smaller pages."""

_UNIQUE = slice(52, 72)
"""Where in there the number stands by which libdb tells one database from another."""

_ROOM = 64 << 20
"""Bytes of free disk with which the old regions can be kept during a recovery."""


_KEPT: list[object] = []
"""Every handle that was opened. Were a stale one freed, its destructor would close it: touch
shared regions that a dead process may have left locked, and flush pages of an old generation."""


class Damaged(Exception):
    """The database or its log cannot be what a filter left there."""


def home(path: str) -> str:
    """Return the directory of a database's environment."""
    return path + ".env"


def identity(path: str) -> bytes:
    """Return what tells this database and its environment from others put in their place.

    It is the inode numbers of both, and the number that libdb gave the database when it was
    created: a file may be overwritten by another host's.

    Raises:
        OSError: there is no such database or environment.
    """
    with open(path, "rb", buffering=0) as file:
        number = os.fstat(file.fileno()).st_ino
        unique = file.read(_META)[_UNIQUE].hex().encode()
    return b"%d,%d,%s" % (number, os.stat(home(path)).st_ino, unique)


def keep(handle: Any) -> Any:
    """Return a handle of libdb, whose destructor will never run."""
    _KEPT.append(handle)
    return handle


def open_environment(path: str, durable: bool, recover: bool = False) -> Any:
    """Return the environment, opened; with ``recover``, made anew from its log.

    Raises:
        db.DBError: it cannot be.
    """
    flags = db.DB_INIT_MPOOL | db.DB_INIT_LOG | db.DB_INIT_TXN
    if recover:
        flags |= db.DB_CREATE | db.DB_RECOVER
    environment = keep(db.DBEnv())
    environment.set_cachesize(0, CACHE)
    environment.set_lg_max(LOG_FILE)
    environment.set_lg_bsize(LOG_FILE // 8)
    environment.log_set_config(db.DB_LOG_AUTO_REMOVE, 1)
    if not durable:
        environment.set_flags(db.DB_TXN_WRITE_NOSYNC, 1)
    environment.open(home(path), flags, 0o600)
    return environment


def open_database(environment: Any, path: str, create: bool = False) -> Any:
    """Return the database, opened in its environment; with ``create``, a new one.

    Raises:
        db.DBError: it cannot be.
    """
    database = keep(db.DB(environment))
    flags = db.DB_AUTO_COMMIT
    if create:
        # Never for a file that exists: libdb would erase it after one bad read.
        flags |= db.DB_CREATE | db.DB_EXCL
        database.set_flags(db.DB_CHKSUM)
    # Relative to the environment, so that both can be moved together.
    name = os.path.join("..", os.path.basename(path))
    database.open(name, dbtype=db.DB_BTREE, flags=flags, mode=0o600)
    return database


def check_file(path: str) -> bool:
    """Return whether there is a database at the path, or nothing yet.

    libdb ends the process when the page size is 0, so it never sees a file that fails here.

    Raises:
        Damaged: the file is no BTree.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            meta = file.read(_META)
    except FileNotFoundError:
        return False
    if not meta:
        return False
    order = _BTREE_MAGIC.get(meta[12:16])
    if len(meta) < _META or order is None:
        raise Damaged("not a Berkeley DB BTree")
    page_size = int.from_bytes(meta[20:24], "little" if order == "little" else "big")
    if page_size not in {512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}:
        raise Damaged(f"a page size of {page_size}")
    size = os.path.getsize(path)
    if size < page_size:
        raise Damaged("less than a page")
    if size % page_size:
        # The disk was full in the middle of a page, which the log has.
        os.truncate(path, size - size % page_size)
    return True


def prepare(path: str, durable: bool, new: bool = False) -> None:
    """Recover the environment, or make a new one, and see that the database opens in it.

    Nobody else may be in it. This may take long, hang or crash when the files are damaged, so
    it is run in a process of its own.

    Args:
        path: the database.
        durable: as for ``open_environment``.
        new: no database has ever been completed here.

    Raises:
        Damaged, db.DBError, OSError: it cannot be done.
    """
    directory = home(path)
    exists = check_file(path)
    os.makedirs(directory, 0o700, exist_ok=True)
    logs = [
        int(name[4:]) for name in os.listdir(directory) if name[:4] == "log." and name[4:].isdigit()
    ]
    if logs and not exists:
        raise Damaged("a log without its database")
    _clear(path, exists)
    if exists and not logs:
        _forget_log(path)
    environment = open_environment(path, durable, recover=True)
    if exists and not os.path.lexists(path):
        if not new:
            raise Damaged("recovery deleted it")
        exists = False  # as it undid a creation that was not completed
    database = open_database(environment, path, create=not exists)
    database.get(b"")
    _rescue(database, _Logged(environment, min(logs, default=0)), directory)
    environment.txn_checkpoint(0, 0, db.DB_FORCE)
    database.close()
    environment.close()
    check_pages(path)
    _reserve(directory)
    for name in _old_regions(directory):
        os.unlink(name)


def check_pages(path: str) -> None:
    """See that each page of the file is one: libdb loops for ever on one that is zeroed.

    Raises:
        Damaged: a page does not have its own number, or no type that there is.
    """
    from struct import unpack_from  # cold

    with open(path, "rb", buffering=0) as file:
        meta = file.read(_META)
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


def _old_regions(directory: str) -> list[str]:
    names = sorted(os.listdir(directory))
    return [os.path.join(directory, name) for name in names if name.startswith(_OLD)]


def _rescue(database: Any, logged: _Logged, directory: str) -> None:
    """Take over what the old cache knows of and the log does not.

    libdb takes the first unreadable record for the end of the log, so a damaged log silently
    loses what follows, and with it the end of a transaction that began before: if the log lacks
    the last change of any page, all pages are looked at. The dead process's own update, which
    was not answered, is rescued with the rest and does no harm.
    """
    from greylist.store.merge import merged
    from greylist.store.salvage import leaves, scan

    regions = _old_regions(directory)
    if all(position in logged for region in regions for position, _ in leaves(region)):
        return
    now = int(time.time())
    transaction = keep(logged.environment.txn_begin())
    for region in regions:
        for key, value in scan(region):
            new = merged(key, value, database.get(key, None, transaction), now)
            if new is not None:
                database.put(key, new, transaction)
    transaction.commit()


class _Logged:
    """The positions in the log at which the change of a page is recorded."""

    def __init__(self, environment: Any, first: int) -> None:
        """Args: first: the number of the first log file before the recovery."""
        self.environment = environment
        self.cursor = environment.log_cursor()
        self.first = first
        self.known: dict[tuple[int, int], bool] = {}

    def __contains__(self, position: tuple[int, int]) -> bool:
        if position not in self.known:
            self.known[position] = position[0] < self.first or self._look(position)
        return self.known[position]

    def _look(self, position: tuple[int, int]) -> bool:
        try:
            found = self.cursor.set(position)
        except (db.DBError, OverflowError):  # the latter for what only looks like a page
            return False
        # The recovery itself has written some since: a checkpoint, the names of the files.
        return bool(found) and int.from_bytes(found[1][:4], sys.byteorder) not in _NO_CHANGES


def _clear(path: str, exists: bool) -> None:
    """Take away what dead processes left behind.

    The regions may be anything. They are kept until the recovery has succeeded, as the cache
    has pages that can be salvaged. A temporary file of a death in first creation would make
    each later creation wait 100 s.
    """
    directory = home(path)
    space = os.statvfs(directory)
    room = space.f_bavail * space.f_frsize >= _ROOM
    for name in os.listdir(directory):
        if name.startswith("__db."):
            region = os.path.join(directory, name)
            old = os.path.join(directory, _OLD + name)
            if room and not os.path.lexists(old):
                os.rename(region, old)
            else:
                os.unlink(region)
    parent, base = os.path.split(path)
    for name in (f"__db.{base}", base if not exists else ""):
        if name and os.path.lexists(os.path.join(parent, name)):
            os.unlink(os.path.join(parent, name))


def discard_log(path: str) -> None:
    """Delete the log of a database that has none of its own in it."""
    directory = home(path)
    for name in os.listdir(directory) if os.path.isdir(directory) else ():
        if name.startswith("log."):
            os.unlink(os.path.join(directory, name))


def _forget_log(path: str) -> None:
    """Make the database's pages forget the positions in a log that it came without.

    The environment has no log of its own yet, so a death in here leads here again.
    """
    environment = db.DBEnv()
    environment.open(home(path), db.DB_CREATE | db.DB_PRIVATE | db.DB_INIT_MPOOL, 0o600)
    environment.lsn_reset(os.path.join("..", os.path.basename(path)), 0)
    environment.close()
    with open(path, "rb+", buffering=0) as file:
        os.fsync(file.fileno())


def _reserve(directory: str) -> None:
    """Give the regions their blocks now: on a full disk, a sparse page is a SIGBUS."""
    for name, size in _REGIONS.items():
        path = os.path.join(directory, name)
        if os.path.exists(path):
            with open(path, "r+b", buffering=0) as file:
                os.posix_fallocate(file.fileno(), 0, max(size, os.fstat(file.fileno()).st_size))
