"""The Berkeley DB environment: one BTree, with a log that survives its writers.

Beside ``greylist.db`` stands ``greylist.db.env`` with the log and the shared regions. It is
transactional but has no lock subsystem: callers hold our own lock.
"""

from __future__ import annotations

import os
import sys

from greylist.native import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

try:
    db = extension("bsddb3", "_pybsddb")
except ImportError:
    # Its author's successor has every name of its C module.
    try:
        db = extension("berkeleydb", "_berkeleydb")
    except ImportError:
        db = None
    if db is None:
        raise

CACHE = 4 << 20
"""Bytes of the cache that all filters share."""

CACHE_REGION = "__db.003"
"""The file of the cache, beside those of the environment and of the log's buffer."""

LOG_FILE = 1 << 20
"""Bytes of one log file."""

CHECKPOINT_KBYTES = 1024
CHECKPOINT_MINUTES = 5
"""A checkpoint is due after this much log, or this long."""

META = 512
"""Bytes of a database's first page that tell what it is: libdb never makes smaller pages."""

_UNIQUE = slice(52, 72)
"""Where in there the number stands by which libdb tells one database from another."""

_KEPT: list[object] = []
"""Every handle that was opened. Were a stale one freed, its destructor would close it: touch
shared regions that a dead process may have left locked, and flush pages of an old generation. So
who has opened any ends by os._exit, and not as the interpreter does."""


class Damaged(Exception):
    """The database or its log cannot be what a filter left there."""


def home(path: str) -> str:
    """Return the directory of a database's environment."""
    return path + ".env"


def is_part(name: str) -> bool:
    """Return whether this is the name of a log or a region of a Berkeley DB environment."""
    kind, _, number = name.partition(".")
    return kind in {"log", "__db"} and number.isdigit() and len(number) in {3, 10}


def identity(path: str) -> bytes:
    """Return the identity of a database and its environment: others in their place differ.

    It is the inode numbers of both, and the number that libdb gave the database when it was
    created: a file may be overwritten by another host's.

    Raises:
        OSError: there is no such database or environment.
    """
    with open(path, "rb", buffering=0) as file:
        number = os.fstat(file.fileno()).st_ino
        unique = unique_number(file.read(META))
    return b"%d,%d,%s" % (number, os.stat(home(path)).st_ino, unique)


def unique_number(meta: bytes) -> bytes:
    """Return the number that libdb gave a database, from the first bytes of its file."""
    return meta[_UNIQUE].hex().encode()


def never_freed(handle: Any) -> Any:
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
    environment = never_freed(db.DBEnv())
    environment.set_cachesize(0, CACHE)
    environment.set_lg_max(LOG_FILE)
    environment.set_lg_bsize(LOG_FILE // 8)
    environment.log_set_config(db.DB_LOG_AUTO_REMOVE, 1)
    if not durable:
        environment.set_flags(db.DB_TXN_WRITE_NOSYNC, 1)
    environment.open(home(path), flags, 0o600)
    return environment


def is_behind_its_log(environment: Any, path: str) -> bool:
    """Return whether the log on the disk goes on where shared memory has its end.

    So it does when a snapshot of the file system was rolled back: its files are of one moment, but
    those of shared memory have never been synced.

    Raises:
        db.DBError: it is shared memory that goes on where the log has its end.
    """
    end = environment.log_stat()
    file = os.path.join(home(path), f"log.{end['cur_file']:010d}")
    if os.path.lexists(f"{file[:-10]}{end['cur_file'] + 1:010d}"):
        return True
    cursor = environment.log_cursor()
    last = cursor.last()
    cursor.close()
    try:
        with open(file, "rb", buffering=0) as log:
            header = os.pread(log.fileno(), 8, end["cur_offset"])
    except FileNotFoundError:
        return False
    # Each record of the log begins with the offset of the one before, and its own length.
    before, length = header[:4], header[4:]
    return bool(last and any(length)) and before == last[0][1].to_bytes(4, sys.byteorder)


def open_database(environment: Any, path: str, create: bool = False) -> Any:
    """Return the database, opened in its environment; with ``create``, a new one.

    Raises:
        db.DBError: it cannot be.
    """
    database = never_freed(db.DB(environment))
    flags = db.DB_AUTO_COMMIT
    if create:
        # Never for a file that exists: libdb would erase it after one bad read.
        flags |= db.DB_CREATE | db.DB_EXCL
        database.set_flags(db.DB_CHKSUM)
    # Relative to the environment, so that both can be moved together.
    name = os.path.join("..", os.path.basename(path))
    database.open(name, dbtype=db.DB_BTREE, flags=flags, mode=0o600)
    return database


def sync(path: str) -> None:
    """See that a file is on the disk, or the names of the files in a directory.

    Raises:
        OSError: it cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_head(path: str, size: int) -> tuple[bytes, os.stat_result]:
    """Return the first bytes of a file, and its status, leaving its time of access as it is.

    It never waits: of a FIFO there are no bytes.

    Raises:
        OSError: it cannot be read, or is a symbolic link.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | os.O_NOATIME)
    except PermissionError:  # only its owner may ask for that
        descriptor = os.open(path, flags)
    try:
        return os.read(descriptor, size), os.fstat(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: str, data: bytes) -> None:
    """Write a small file, so that after a power cut it is there as before or as it is now.

    Raises:
        OSError: it cannot be written.
    """
    new = path + ".new"
    if os.path.lexists(new):
        os.unlink(new)  # a death left it half written
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(new, path)
    sync(os.path.dirname(path))


def pack_replacement(key: bytes, value: bytes) -> str | bytes:
    """Return the log's text for a value that replaces another.

    Of such a change libdb logs the bytes that differ, and no key: with the page lost, so would
    the value be.

    replacement :== length of the key in decimal " " key value, each byte being a character; but
    U+0100 for NUL, at which libdb would take the text for ended
    """
    text = f"{len(key)} {(key + value).decode('latin-1')}".replace("\0", "\u0100")
    # bsddb3 encodes it, and berkeleydb has it encoded.
    return text if db.__name__.startswith("bsddb3") else text.encode()


def unpack_replacement(text: bytes) -> tuple[bytes, bytes] | None:
    """Return the key and value of a replacement, or None if the text is another one."""
    size, _, entry = text.partition(b" ")
    try:
        whole = entry.decode().replace("\u0100", "\0").encode("latin-1")
        length = int(size)
    except ValueError:
        return None
    return (whole[:length], whole[length:]) if 0 < length < len(whole) else None
