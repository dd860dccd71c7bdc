"""A shared store that is away: nobody tries for some seconds, and one says so once a minute.

All filters of a user on this host share a file, in a directory that is there on every host and
that forgets on a restart: its time of change is when the store was last found away, the epoch
when it is not; the text in it is when that was last logged. It belongs to the filters' user, in
a directory where nobody else can put another in its place; one that is somebody else's, or
cannot be made, is left alone, and then each filter goes by its own memory.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.log import Log

REST = 5
"""Seconds for which nobody tries."""

LOG_EVERY = 60
"""Seconds between two lines in the log, over all filters."""

_DIRECTORIES = ("/dev/shm", "/tmp")  # noqa: S108 - see above


class Outage:
    """What the filters of this host know about one database's being away."""

    def __init__(self, database: str, log: Log) -> None:
        """Args: database: the setting; log: where to say what happens."""
        self._log = log
        self._path = _path(database)
        self._since = self._logged = 0.0
        self._trying = False

    def lasts(self) -> bool:
        """Return whether the store is away and it is not the time to try again.

        A filter that is told no, after REST, tries for all: the others wait for REST once more.
        """
        since = self._changed()
        if since is None:
            since = self._since
        if not since:
            return False
        if 0 <= time.time() - since < REST:
            return True
        self._note()
        self._trying = True
        return False

    def began(self, reason: str) -> None:
        """Note that the store is away, and log why, unless that was done a moment ago."""
        self._trying = False
        self._since = now = time.time()
        try:
            with open(self._open(), "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                due = self._is_due(file.read(32))
                if due:
                    file.seek(0)
                    file.write(b"%020d" % now)
        except BlockingIOError:
            due = False  # another one logs it now
        except OSError:
            due = self._is_due(b"%d" % self._logged)
        self._note()
        if due:
            self._logged = now
            self._log.warning(f"{reason}; until it is back, mail is let through")

    def ended(self) -> None:
        """Note that the store has answered, if it was away."""
        if self._trying:
            self._trying = False
            self._since = 0.0
            if self._changed():
                os.utime(self._path, (0, 0), follow_symlinks=False)
            self._log.info("the database is back: greylisting goes on")

    def _is_due(self, logged: bytes) -> bool:
        age = time.time() - int(logged) if logged.isdigit() else LOG_EVERY
        return not 0 <= age < LOG_EVERY

    def _note(self) -> None:
        self._since = time.time()
        try:
            os.utime(self._path, follow_symlinks=False)
        except OSError:
            pass  # then this filter remembers it alone

    def _changed(self) -> float | None:
        """Return the time of change of the file that is ours, 0 for the epoch."""
        try:
            status = os.lstat(self._path)
        except OSError:
            return None
        ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        return status.st_mtime if ours else None

    def _open(self) -> int:
        """Return a descriptor of the file, made if need be.

        Raises:
            OSError: it is not ours.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self._path, flags, 0o600)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink > 1:
            os.close(descriptor)
            raise PermissionError(self._path)
        return descriptor


def _path(database: str) -> str:
    from _blake2 import blake2b  # not by hashlib, which loads OpenSSL

    directory = next(filter(os.path.isdir, _DIRECTORIES))
    digest = blake2b(database.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"{directory}/greylist-{os.geteuid()}-{digest}"
