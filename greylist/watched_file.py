"""A file that is read again when it has changed and settled.

A file saved in place is empty, or half there, for a moment. Like Postfix with its tables, a
reader believes a file when its last change is a second old; until then what it read before
holds, and a first reader waits.
"""

from __future__ import annotations

import errno
import os
import stat
import time

LOOK_EVERY = 0.25
"""Seconds between two looks at a file, however many requests come."""

SETTLED = 1.0
"""Seconds since its last change after which a file is whole."""

PATIENCE = 3.0
"""The longest that a first reader waits for a file that goes on changing, in seconds."""

_MARK = b"\xef\xbb\xbf"
"""The byte order mark, with which some editors begin a file in UTF-8."""

_PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that go without any change to the file."""


class File:
    """A file's name, and which version of it was read last."""

    __slots__ = ("_looked", "_missed", "_read", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._read: object = None
        self._missed: tuple[object, float] | None = None
        self._looked = 0.0

    def changed(self) -> bool:
        """Return whether the file is to be read; true at the first call, after a wait if need be.

        Afterwards it is to be read when it has changed and settled. One that is gone, or cannot
        be looked at, has changed when it has been so for as long.
        """
        now = time.monotonic()
        if self._read is not None and now - self._looked < LOOK_EVERY:
            return False
        self._looked = now
        if self._read is None:
            self._read = self._wait()
            return True
        version, age = self._look()
        if version == self._read:
            self._missed = None
            return False
        if age is None:
            if self._missed is None or self._missed[0] != version:
                self._missed = version, now
            age = now - self._missed[1]
        if 0 <= age < SETTLED:
            return False
        self._read = version
        return True

    def _wait(self) -> object:
        """Return the version of the file once it has settled, or after PATIENCE."""
        end = time.monotonic() + PATIENCE
        while True:
            version, age = self._look()
            if age is None or not 0 <= age < SETTLED or time.monotonic() >= end:
                return version
            time.sleep(SETTLED - age)

    def _look(self) -> tuple[object, float | None]:
        """Return the version of the file and the seconds since its change; none if it is missing.

        A change in the future is from another clock, and no sign that somebody writes.
        """
        try:
            status = os.stat(self.path)
        except OSError as error:
            return error.errno, None
        version = status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
        return version, time.time() - status.st_mtime

    def read(self) -> bytes:
        """Return the content of a regular file; a FIFO in its place must not hang the reader.

        Raises:
            OSError: it cannot be read.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.close(descriptor)
                raise OSError(errno.EINVAL, "not a regular file", self.path)
            with open(descriptor, "rb") as file:
                return file.read().removeprefix(_MARK)
        except OSError as error:
            if error.errno in _PASSING:
                self._read = None  # to be tried again by the next request
            raise
