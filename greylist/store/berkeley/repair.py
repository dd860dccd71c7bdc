"""Starting the process that checks a suspect database and salvages those set aside."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys

import greylist
from greylist import child
from greylist.store.berkeley import due

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.log import Log
    from greylist.store import Rules

_CHECKER = "greylist.store.berkeley.checker"
"""The module that is run."""


def start(path: str, log: Log, rules: Rules) -> None:
    """Start the repair process, if there is something to do now and nobody does it yet."""
    try:
        if not due.is_now(path) or not _is_free(path):
            return
        child.start(lambda: _become_repair(path, log, rules))
    except OSError as error:
        log.warning(f"cannot start a repair of {path}: {error.strerror}")


def _become_repair(path: str, log: Log, rules: Rules) -> int:
    """Become the repair process, in a child."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    os.execve(  # noqa: S606 - no shell is wanted
        sys.executable,
        [sys.executable, "-P", "-m", _CHECKER, path, log.facility, *rules.arguments()],
        {**os.environ, "PYTHONPATH": os.path.dirname(greylist.__path__[0])},
    )


def _is_free(path: str) -> bool:
    descriptor = open_lock(path)
    try:
        return lock(descriptor)
    finally:
        os.close(descriptor)


def lock(descriptor: int) -> bool:
    """Return whether this process does the repair from now on: nobody else does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def open_lock(path: str) -> int:
    """Return the file that a repair locks, opened.

    Raises:
        OSError: it cannot be, or is somebody's own, such as a database that he has repaired.
    """
    file = due.repair_path(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(file, flags, 0o600)
    regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
    if not regular or due.time_in(os.pread(descriptor, due.TIME_SIZE + 1, 0)) is None:
        os.close(descriptor)
        raise FileExistsError(errno.EEXIST, f"{file} is not greylist's, and has to be moved away")
    return descriptor
