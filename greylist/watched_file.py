"""A file that is read again when it changes."""

from __future__ import annotations

import errno
import os
import stat

_MARK = b"\xef\xbb\xbf"
"""What some editors begin a file with to say that it is UTF-8."""

_PASSING = {errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors that go without any change to the file."""


class File:
    """A file's name, and which version of it was seen last."""

    __slots__ = ("_seen", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self._seen: object = None

    def changed(self) -> bool:
        """Return whether the file is another than at the last call; true the first time.

        A file that comes, goes or cannot be looked at any more has changed, once.
        """
        try:
            status = os.stat(self.path)
            seen: object = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        except OSError as error:
            seen = error.errno
        if seen == self._seen:
            return False
        self._seen = seen
        return True

    def read(self) -> bytes:
        """Return the content of a regular file; a FIFO in its place must not hang the filter.

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
                self._seen = None  # to be tried again by the next request
            raise
