"""Reading a database's files without a trace: nothing is opened in them, written or made.

Whoever opens a database joins its shared memory, marks the record, and recovers what a dead process
left. What only looks reads the files as they are, under the lock, which is shared among readers.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING

from greylist.store import StoreError
from greylist.store.berkeley.locks import POLL, holder
from greylist.store.berkeley.permissions import lock_path
from greylist.store.berkeley.record import SIZE, Record
from greylist.store.berkeley.store import is_sound

if TYPE_CHECKING:
    from collections.abc import Callable

    from greylist.store import T


class Reader:
    """One database's files, and its lock."""

    def __init__(self, path: str, timeout: float) -> None:
        """Args: path: the database; timeout: the longest wait for its lock, in seconds."""
        self._path = path
        self._timeout = timeout

    def locked(self, function: Callable[[], T]) -> T:
        """Return what the function returns; while it runs, nobody is in the database.

        Raises:
            StoreError: the lock could not be had in time, or its file is not there.
        """
        path = lock_path(self._path)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise StoreError(f"{path}: {error.strerror}") from error
        try:
            self._acquire(descriptor)
            return function()
        finally:
            os.close(descriptor)  # which releases the lock

    def _acquire(self, descriptor: int) -> None:
        path, end = lock_path(self._path), time.monotonic() + self._timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    text = f"still locked after {self._timeout:g} s by {holder(path)}"
                    raise StoreError(f"{path}: {text}") from None
                time.sleep(POLL)
            else:
                return

    def record(self) -> Record | None:
        """Return the record as no process is in the database; None if there is none yet.

        Raises:
            StoreError: the lock could not be had in time.
        """
        path = lock_path(self._path)
        if not os.path.exists(path):
            return None
        return self.locked(lambda: _read(path))

    def is_sound(self) -> bool:
        """Return whether the database is in use, and was left as it should be.

        Raises:
            StoreError: the lock could not be had in time.
        """
        record = self.record()
        return record is not None and is_sound(record, self._path)


def _read(path: str) -> Record | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return Record.unpack(file.read(SIZE))
    except (OSError, ValueError):
        return None
