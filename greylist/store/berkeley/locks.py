"""The lock of a database: flock(2), by filters in the kernel, by commands through filelock."""

from __future__ import annotations

import fcntl
import os
import time

from greylist.store import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import Protocol

    class Lock(Protocol):
        """Exclusive between processes, and released by the kernel when its holder dies."""

        def acquire(self) -> None:
            """Wait for the lock.

            Raises:
                StoreError: it could not be had in time.
            """

        def release(self) -> None:
            """Let the next one have the lock."""

else:
    import _signal as signal  # the public module builds enums: 3 ms of every start-up


YIELDS = 5
NAPS = 20
NAP = 0.0001
"""How often to look again before queueing in the kernel, first at once, then after so many
seconds. A transaction is over in 15 µs, less than it takes to be woken up: with 32 busy filters
the queue alone halves their throughput. With longer naps or more yields, some starve."""

POLL = 0.005
"""Seconds between two attempts of a command's lock."""


class _TimedOut(StoreError):
    """The alarm rang before the lock was free."""


class KernelLock:
    """An exclusive flock(2) on a file that is never unlinked."""

    __slots__ = ("_descriptor", "_path", "_timeout")

    def __init__(self, path: str, timeout: float) -> None:
        """Args: path: the lock file, which exists; timeout: the longest wait, in seconds."""
        self._path = path
        self._timeout = timeout
        self._descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)

    def acquire(self) -> None:
        """Wait for the lock: briefly awake, then asleep.

        Raises:
            StoreError: somebody held it all the time.
        """
        for attempt in range(YIELDS + NAPS):
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if attempt < YIELDS:
                    os.sched_yield()
                else:
                    time.sleep(NAP)
            else:
                return
        self._wait()

    def _wait(self) -> None:
        before = signal.signal(signal.SIGALRM, _ring)
        try:
            try:
                # It rings again: the first ring may come just before the wait begins.
                signal.setitimer(signal.ITIMER_REAL, self._timeout, 0.1)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
        except _TimedOut:
            self.release()  # it may have rung just after
            raise StoreError(
                f"{self._path}: still locked after {self._timeout:g} s by {holder(self._path)}"
            ) from None
        finally:
            signal.signal(signal.SIGALRM, before)

    def release(self) -> None:
        """Let the next one have the lock."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)


class CommandLock:
    """A command's lock: the same flock(2) as the filter's, taken through filelock.

    The filter waits in the kernel and would starve a slow poller, so this one asks often.
    """

    def __init__(self, path: str, timeout: float) -> None:
        """Args: path: the lock file, which exists; timeout: the longest wait, in seconds."""
        from filelock import FileLock  # 34 ms, which a filter must not pay

        self._path = path
        self._timeout = timeout
        self._lock = FileLock(path, timeout=timeout, on_acquired=self._share)
        self._shared = -1

    def acquire(self) -> None:
        """Wait for the lock.

        Raises:
            StoreError: it could not be had in time; the text names the holder.
        """
        from filelock import Timeout

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


def _ring(signum: int, frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise _TimedOut


def holder(path: str) -> str:
    """Return the holder of the lock on a file, for people; Linux tells in /proc/locks."""
    try:
        status = os.stat(path)
        number = b":%d" % status.st_ino
        with open("/proc/locks", "rb") as locks:
            for line in locks:
                fields = line.split()
                if fields[1] == b"FLOCK" and fields[5].endswith(number):
                    pid = int(fields[4])
                    with open(f"/proc/{pid}/cmdline", "rb") as file:
                        command = file.read().replace(b"\0", b" ").decode(errors="replace")
                    with open(f"/proc/{pid}/stat", "rb") as file:
                        state = file.read().rpartition(b")")[2].split()[0].decode()
                    stopped = ", which is stopped" if state in "tT" else ""
                    return f"process {pid} ({command.strip():.100}){stopped}"
    except (OSError, IndexError, ValueError):
        pass
    return "another process"
