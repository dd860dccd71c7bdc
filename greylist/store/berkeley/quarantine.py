"""The copies of damaged databases: ``greylist.db.<unix time>/``, as the original names them.

A copy is a directory with the database and its environment as they were. The original does the
same on signal 11, ``so that the mail system does not get stuck``.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from greylist.store import StoreError
from greylist.store.berkeley.environment import CACHE_REGION, home, read_head, sync, write_whole
from greylist.store.berkeley.transaction_log import is_log, log_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.log import Log

COPIES = 5
"""How many damaged databases are kept."""

ATTEMPTS = 3
"""How often the salvage of one copy is tried, as it might bring its process down."""

_MOVING = b"moving"
_ONLY_LOG = b"done: this is a log alone\n"

_BEGUN = ".quarantine"
"""After the name of a database: the directory of a copy before it has its note."""

_NOTE = "salvage"
"""The file in a copy that says how far its salvage has come: attempts, or ``done`` and what."""


def quarantine(path: str, log: Log, only_log: bool = False) -> str:
    """Move the database and its environment, or its log, out of the way; return where they went.

    Raises:
        StoreError: they cannot be moved.
    """
    now = int(time.time())
    while os.path.lexists(f"{path}.{now}"):
        now += 1
    aside = f"{path}.{now}"
    environment = os.path.join(aside, os.path.basename(home(path)))
    try:
        _make(path, aside, _ONLY_LOG if only_log else _MOVING)
        sync(os.path.dirname(path))
        if only_log:
            os.mkdir(environment, 0o700)
            for file in log_files(home(path)):
                os.rename(file, os.path.join(environment, os.path.basename(file)))
        else:
            _move(path, aside)
        _discard(path, log)
    except OSError as error:
        raise StoreError(f"cannot save {path} as {aside}: {error.strerror}") from error
    return aside


def _make(path: str, aside: str, note: bytes) -> None:
    """Make the directory of a copy, with its note from the first: without, nobody would delete it.

    A death before that leaves a directory that the next one uses.
    """
    new = path + _BEGUN
    os.makedirs(new, 0o700, exist_ok=True)
    if set(os.listdir(new)) - {_NOTE, f"{_NOTE}.new"}:
        raise FileExistsError(errno.EEXIST, f"{new} is not greylist's, and has to be moved away")
    try:
        _write_note(new, note)
    except OSError:
        _delete(new)
        raise
    os.rename(new, aside)


def resume(path: str) -> None:
    """Complete a move in which a process died: half of a database cannot be salvaged.

    Raises:
        OSError: it cannot be moved.
    """
    for copy in copies(path):
        if _read_note(copy) == _MOVING:
            _move(path, copy)


def _move(path: str, aside: str) -> None:
    for name in (path, home(path)):
        target = os.path.join(aside, os.path.basename(name))
        if os.path.lexists(name) and not os.path.lexists(target):
            os.rename(name, target)
    for source in sources(path, aside):
        try:
            sync(source)
        except OSError:
            pass  # a bad spot on the disk, which is why it is moved
    for directory in (os.path.join(aside, os.path.basename(home(path))), os.path.dirname(path)):
        if os.path.isdir(directory):
            sync(directory)
    _write_note(aside, b"0")


def sources(path: str, copy: str) -> list[str]:
    """Return the files of a copy that have entries: logs, caches and the database."""
    directory = os.path.join(copy, os.path.basename(home(path)))
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    found = [name for name in names if is_log(name)]
    found += [name for name in names if name.endswith(CACHE_REGION)]
    files = [os.path.join(directory, name) for name in found]
    database = os.path.join(copy, os.path.basename(path))
    return [file for file in [*files, database] if os.path.isfile(file)]


def copies(path: str) -> list[str]:
    """Return the copies that are kept of a database, oldest first: our own directories, noted."""
    directory, base = os.path.split(path)
    stamps = [
        name[len(base) + 1 :] for name in os.listdir(directory) if name.startswith(base + ".")
    ]
    names = [f"{path}.{stamp}" for stamp in sorted((s for s in stamps if s.isdigit()), key=int)]
    return [name for name in names if _is_copy(name)]


def _is_copy(name: str) -> bool:
    try:
        status = os.lstat(name)
    except FileNotFoundError:
        return False  # another process has just deleted it
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return ours and os.path.isfile(os.path.join(name, _NOTE))


def to_salvage(path: str) -> list[str]:
    """Return the copies with a database whose entries have still to be salvaged."""
    return [copy for copy in copies(path) if _waits(path, copy)]


def _waits(path: str, copy: str) -> bool:
    environment = os.path.join(copy, os.path.basename(home(path)))
    regions = os.listdir(environment) if os.path.isdir(environment) else []
    # Without a database there are entries only if a recovery lost it: somebody may have deleted
    # it to start afresh.
    lost = any(name.startswith("old.") for name in regions)
    log_alone = bool(regions) and all(map(is_log, regions))
    if not (lost or log_alone or os.path.isfile(os.path.join(copy, os.path.basename(path)))):
        return False
    note = _read_note(copy)
    return note.isdigit() and int(note) < ATTEMPTS


def salvage_too(copy: str) -> None:
    """Note that a log that was set aside alone is to be salvaged: its database was damaged."""
    _write_note(copy, b"0")


def count_attempt(copy: str) -> None:
    """Note that the salvage of a copy brought its process down."""
    note = _read_note(copy)
    _write_note(copy, b"%d\n" % (int(note) + 1 if note.isdigit() else ATTEMPTS))


def mark_done(copy: str, text: str) -> None:
    """Note that the salvage of a copy is complete, and its result."""
    _write_note(copy, b"done: %s\n" % text.encode())


def _read_note(copy: str) -> bytes:
    try:
        note = read_head(os.path.join(copy, _NOTE), 16)[0].rstrip()
    except FileNotFoundError:
        return b"0"
    return note if note == _MOVING or note.isdigit() or note.startswith(b"done") else b"0"


def _write_note(copy: str, note: bytes) -> None:
    write_whole(os.path.join(copy, _NOTE), note)


def _discard(path: str, log: Log) -> None:
    """Delete copies: all but COPIES, and all that are salvaged if the disk fills up.

    The salvaged go first, oldest first. Of those that wait for it, the newer go first: should
    something set aside one database after the other, the first has the entries.
    """
    space = os.statvfs(os.path.dirname(path))
    scarce = space.f_bavail < space.f_blocks // 10
    older = copies(path)[:-1]
    waiting = to_salvage(path)
    salvaged = [copy for copy in older if copy not in waiting]
    order = salvaged + [copy for copy in reversed(older) if copy in waiting]
    surplus = max(len(older) + 1 - COPIES, len(salvaged) if scarce else 0)
    for copy in order[:surplus]:
        if copy in waiting:
            log.warning(f"deleting {copy}, which was not salvaged: {COPIES} copies are kept")
        _delete(copy)


def _delete(copy: str) -> None:
    for directory, folders, files in os.walk(copy, topdown=False):
        for name in files:
            os.unlink(os.path.join(directory, name))
        for name in folders:
            os.rmdir(os.path.join(directory, name))
    os.rmdir(copy)
