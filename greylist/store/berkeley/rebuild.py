"""An environment made fit for use: recovered from its log, or new, and its database whole."""

from __future__ import annotations

import os
import re
import stat

from greylist.store.berkeley.environment import (
    CACHE,
    CACHE_REGION,
    Damaged,
    db,
    home,
    never_freed,
    open_database,
    open_environment,
    sync,
)
from greylist.store.berkeley.pages import (
    check_file,
    check_pages,
    drop_partial_page,
    has_checksums,
    is_btree,
)
from greylist.store.berkeley.salvage import clock, leaves, scan
from greylist.store.berkeley.transaction_log import changes, log_files, number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from greylist.store import Rules

_REGION = "__db."
"""How the names of shared regions begin, and of libdb's own files in making one."""

_OLD = "old."
"""Before the name of a region of a generation that died."""

_NEW = ".rewritten"
"""After the name of a database that is being made; an administrator may have a ``.new``."""

_REGIONS = {"__db.001": 2 << 20, "__db.002": 1 << 20, CACHE_REGION: CACHE * 3 // 2}
"""Bytes to which the files of the shared regions may grow: environment, log and cache."""

_UNNAMED = re.compile(r"80000001\.[0-9a-f]{1,8}")
_UNNAMED_SIZE = 2 << 16
"""The name of a database before it is given its own, and its bytes at most: two pages."""

_ROOM = 64 << 20
"""Bytes of free disk with which the old regions can be kept during a recovery."""


def prepare(path: str, durable: bool, rules: Rules, new: bool = False) -> None:
    """Recover the environment, or make a new one, and see that the database opens in it.

    Nobody else may be in it. This may take long, hang or crash when the files are damaged, so
    it is run in a process of its own.

    Args:
        path: the database.
        durable: as for ``open_environment``.
        rules: merge what only the old cache knows.
        new: no database has ever been completed here.

    Raises:
        Damaged, db.DBError, OSError: it cannot be done.
    """
    directory = home(path)
    exists = check_file(path)
    if exists:
        drop_partial_page(path)
    os.makedirs(directory, 0o700, exist_ok=True)
    if log_files(directory) and not exists:
        raise Damaged("a log without its database")
    _clear(path, exists)
    if new and not exists:
        _delete_unnamed(path)
    if exists and not has_checksums(path) and _has_room(path):
        if log_files(directory):
            _recover(path, durable, rules, exists)
            discard_log(path)
        _add_checksums(path)
    if exists and not log_files(directory):
        _forget_log(path)
    _recover(path, durable, rules, exists, new)
    check_pages(path)
    _reserve(directory)
    sync(directory)
    sync(os.path.dirname(path))


def _recover(path: str, durable: bool, rules: Rules, exists: bool, new: bool = False) -> None:
    """Make the environment anew from its log, and write all of it to the database."""
    directory = home(path)
    logs = log_files(directory)
    for log in logs:
        sync(log)  # libdb takes for granted that what it reads of the log is on the disk
    environment = open_environment(path, durable, recover=True)
    if exists and not os.path.lexists(path):
        if not new:
            raise Damaged("recovery deleted it")
        exists = False  # as it undid a creation that was not completed
    database = open_database(environment, path, create=not exists)
    database.get(b"")
    cache = os.path.join(directory, _OLD + CACHE_REGION)
    if os.path.lexists(cache):
        _rescue(environment, database, cache, rules, first=number(logs[0]) if logs else 0)
    environment.txn_checkpoint(0, 0, db.DB_FORCE)
    database.close()
    environment.close()
    for name in os.listdir(directory):
        if name.startswith(_OLD + _REGION):
            _discard(os.path.join(directory, name))


def _has_room(path: str) -> bool:
    space = os.statvfs(os.path.dirname(path))
    return space.f_bavail * space.f_frsize > 2 * os.path.getsize(path) + _ROOM


def _add_checksums(path: str) -> None:
    """Write the database anew with a checksum in each page, which the original's do not have.

    Without them, a page of which a power cut spared a half is taken for a whole one. A death in
    here leaves the database as it was.

    Raises:
        Damaged, db.DBError: it cannot be read.
    """
    new = path + _NEW
    source, target = db.DB(), db.DB()
    target.set_flags(db.DB_CHKSUM)
    for database in (source, target):
        database.set_cachesize(0, CACHE)
    source.open(path, dbtype=db.DB_BTREE, flags=db.DB_RDONLY)
    target.open(new, dbtype=db.DB_BTREE, flags=db.DB_CREATE | db.DB_EXCL, mode=0o600)
    cursor = source.cursor()
    last = b""
    while entry := cursor.next():
        if entry[0] < last:
            raise Damaged("its entries are out of order")
        last = entry[0]
        target.put(*entry)
    cursor.close()
    source.close()
    target.close()
    sync(new)
    os.rename(new, path)
    sync(os.path.dirname(path))


def _temporaries(path: str) -> list[str]:
    """Return the files that a death in the making of a database may leave behind.

    libdb gives a new one its name at last, and waits for 100 s where somebody seems to make it.
    """
    parent, base = os.path.split(path)
    return [os.path.join(parent, f"__db.{base}"), path + _NEW, f"{parent}/__db.{base}{_NEW}"]


def _delete_unnamed(path: str) -> None:
    """Delete what a death in a creation left of a database that had not been given its name yet.

    libdb calls it by the number of the transaction, the first one of an environment. It has two
    pages, in a BTree none of which has an entry, or is not written yet.
    """
    directory = os.path.dirname(path)
    for name in os.listdir(directory):
        file = os.path.join(directory, name)
        if _UNNAMED.fullmatch(name) and _is_empty_database(file):
            os.unlink(file)


def _is_empty_database(file: str) -> bool:
    status = os.lstat(file)
    ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1
    if not ours or status.st_size > _UNNAMED_SIZE:
        return False
    with open(file, "rb", buffering=0) as database:
        data = database.read()
    return not data.strip(b"\0") or (is_btree(data) and not any(scan(file)))


def _rescue(environment: Any, database: Any, cache: str, rules: Rules, first: int) -> None:
    """Take over the entries of the old cache that the log lacks.

    libdb takes the first unreadable record for the end of the log, so a damaged log silently
    loses what follows, and with it the end of a transaction that began before: if the log lacks
    the last change of any page, all pages are looked at. The dead process's own update, which
    was not answered, is rescued with the rest and does no harm.

    Args:
        environment: after its recovery.
        database: opened in it.
        cache: the file of the old region.
        rules: merge what only the cache knows.
        first: the number of the first log file before the recovery; what older ones had is in
            the database.
    """
    environment.log_flush()
    logged = {position for log in log_files(os.path.dirname(cache)) for position in changes(log)}
    if all(
        position[0] < first or position in logged or not any(entries)
        for position, entries in leaves(cache)
    ):
        return
    now = clock([cache])
    transaction = never_freed(environment.txn_begin())
    for key, value in scan(cache):
        new = rules.merge(key, value, database.get(key, None, transaction), now)
        if new is not None:
            database.put(key, new, transaction)
    transaction.commit()


def _clear(path: str, exists: bool) -> None:
    """Delete the files that dead processes left behind.

    The regions may be anything. They are kept until the recovery has succeeded, as the cache
    has pages that can be salvaged.
    """
    directory = home(path)
    space = os.statvfs(directory)
    room = space.f_bavail * space.f_frsize >= _ROOM
    for name in os.listdir(directory):
        if name.startswith(_REGION):
            region = os.path.join(directory, name)
            old = os.path.join(directory, _OLD + name)
            if room and not os.path.lexists(old):
                os.rename(region, old)
            else:
                _discard(region)
    for name in [*_temporaries(path), *([] if exists else [path])]:
        if os.path.lexists(name):
            os.unlink(name)


def _discard(region: str) -> None:
    """Delete a region, also for processes that still have it in memory.

    Filters keep the regions of dead generations for as long as they live, and 9 MiB of disk with
    each. They never touch them again; were one to, for want of our lock, it would die of SIGBUS.
    """
    try:
        descriptor = os.open(region, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        os.ftruncate(descriptor, 0)
        os.close(descriptor)
    except OSError:
        pass  # it is no file of ours
    os.unlink(region)


def discard_log(path: str) -> None:
    """Delete the log of a database that has none of its own in it."""
    for log in log_files(home(path)):
        os.unlink(log)


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
