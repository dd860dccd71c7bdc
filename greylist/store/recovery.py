"""What is done after a death or damage: recover, or set aside and start afresh.

Whoever calls in here holds the lock. Nothing of it is on the way of an ordinary request, so
a filter imports it only on need.
"""

from __future__ import annotations

import errno
import os
import time

from bsddb3 import db

from greylist.store import StoreError
from greylist.store.environment import Damaged, home, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

RECOVERY_SECONDS = 20
"""A recovery reads a few MiB of log; one that takes longer hangs."""

COPIES = 5
"""How many damaged databases are kept."""

_TROUBLE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EMFILE,
    errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM,
}  # fmt: skip
"""Errors of the machine, which no other database would mend."""

_RESERVE = 16 << 20
"""Bytes of free disk below which a crash says nothing against the database."""


def trouble(error: BaseException) -> str:
    """Return what is wrong with the machine, or nothing when the database is to blame."""
    number = error.args[0] if error.args else None
    return os.strerror(number) if isinstance(number, int) and number in _TROUBLE else ""


def recover(path: str, durable: bool) -> None:
    """Make the environment fit for use, in a process of its own.

    Raises:
        StoreError: the machine is in trouble; the database is as it was.
        Damaged: the database or its log is.
    """
    status, text = _in_child(lambda: prepare(path, durable), RECOVERY_SECONDS)
    if status == "trouble":
        raise StoreError(f"{path}: {text}")
    if status == "damaged":
        free = os.statvfs(os.path.dirname(path))
        if free.f_bavail * free.f_frsize < _RESERVE:
            raise StoreError(f"{path}: {text}, and the disk is almost full")
        raise Damaged(text)


def _in_child(function: Callable[[], None], seconds: int) -> tuple[str, str]:
    """Return ``ok``, ``trouble`` or ``damaged``, and why, of a function run by a child.

    The child shares the open lock file, so the lock is held until both are gone.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            function()
            code = 0
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent hears of it
            reason = trouble(error)
            text = ("trouble " + reason) if reason else f"damaged {describe(error)}"
            os.write(writer, text.encode(errors="replace")[:1000])
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        told = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if status == 0:
        return "ok", ""
    if told:
        kind, _, text = told.partition(" ")
        return kind, text
    number = os.waitstatus_to_exitcode(status)
    if -number in {signal.SIGKILL, signal.SIGTERM}:
        return "trouble", "the recovery was killed"
    if -number == signal.SIGALRM:
        return "damaged", f"the recovery hung for {seconds} s"
    return "damaged", f"the recovery died of signal {-number}"


def describe(error: BaseException) -> str:
    """Return an error in words: libdb's message, where it has one."""
    if isinstance(error, db.DBError) and len(error.args) > 1:
        return str(error.args[1])
    return str(error) or type(error).__name__


def set_aside(path: str) -> str:
    """Move the database and its environment out of the way; return where they went.

    The original does the same on signal 11, ``so that the mail system does not get stuck``.

    Raises:
        StoreError: they cannot be moved.
    """
    now = int(time.time())
    while os.path.lexists(f"{path}.{now}"):
        now += 1
    aside = f"{path}.{now}"
    try:
        os.mkdir(aside, 0o700)
        for name in (path, home(path)):
            if os.path.lexists(name):
                os.rename(name, os.path.join(aside, os.path.basename(name)))
        _discard(path)
    except OSError as error:
        raise StoreError(f"cannot save {path} as {aside}: {error.strerror}") from error
    return aside


def copies(path: str) -> list[str]:
    """Return the damaged databases that are kept, oldest first."""
    directory, base = os.path.split(path)
    stamps = [
        name[len(base) + 1 :] for name in os.listdir(directory) if name.startswith(base + ".")
    ]
    return [f"{path}.{stamp}" for stamp in sorted((s for s in stamps if s.isdigit()), key=int)]


def _discard(path: str) -> None:
    """Delete the oldest copies: all but COPIES, and all but the newest if the disk fills up."""
    space = os.statvfs(os.path.dirname(path))
    scarce = space.f_bavail < space.f_blocks // 10
    for copy in copies(path)[: -1 if scarce else -COPIES]:
        for directory, folders, files in os.walk(copy, topdown=False):
            for name in files:
                os.unlink(os.path.join(directory, name))
            for name in folders:
                os.rmdir(os.path.join(directory, name))
        os.rmdir(copy)
