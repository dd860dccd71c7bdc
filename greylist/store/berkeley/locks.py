"""The filter's lock: flock(2), waited for in the kernel."""

from __future__ import annotations

import fcntl
import os
import time

from greylist.store import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
else:
    import _signal as signal  # the public module builds enums: 3 ms of every start-up


YIELDS = 5
NAPS = 20
NAP = 0.0001
"""How often to look again before queueing in the kernel, first at once, then after so many
seconds. A transaction is over in 15 µs, less than it takes to be woken up: with 32 busy filters
the queue alone halves their throughput. With longer naps or more yields, some starve."""


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


def _ring(signum: int, frame: FrameType | None) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise _TimedOut


def holder(path: str) -> str:
    """Return who holds the lock on a file, for people; Linux tells in /proc/locks."""
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
