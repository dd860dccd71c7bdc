"""The lock of a person's command: polled for, with a time-out that tells who is in the way.

The filter waits in the kernel and would starve a slow poller, so this one asks often.
"""

from __future__ import annotations

import os

from filelock import FileLock, Timeout

from greylist.store import StoreError
from greylist.store.berkeley.locks import holder

POLL = 0.005
"""Seconds between two attempts."""


class PatientLock:
    """The same flock(2) as the filter's, taken through filelock."""

    def __init__(self, path: str, timeout: float) -> None:
        """Args: path: the lock file, which exists; timeout: the longest wait, in seconds."""
        self._path = path
        self._timeout = timeout
        self._lock = FileLock(path, timeout=timeout, on_acquired=self._share)
        self._shared = -1

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            StoreError: it could not be had in time; the text names the holder.
        """
        try:
            self._lock.acquire(poll_interval=POLL)
        except Timeout:
            raise StoreError(
                f"{self._path}: still locked after {self._timeout:g} s by {holder(self._path)}"
            ) from None

    def _share(self, descriptor: int) -> None:
        # In a child, filelock closes its own. That of a recovery has to hold the lock as well.
        self._shared = os.dup(descriptor)

    def release(self) -> None:
        """Let the next one have the lock."""
        os.close(self._shared)
        self._lock.release()
