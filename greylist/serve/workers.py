"""Several processes that share the sockets and the database, each started again when it dies."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from greylist.log import place_of
from greylist.serve.listen import notify

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from greylist.log import Log

PAUSE = 1.0
"""Seconds before a process that died is started again."""


ENDINGS = (signal.SIGTERM, signal.SIGINT)


class Workers:
    """The processes, and the signal that ends them."""

    def __init__(self, log: Log, work: Callable[[int, int], None]) -> None:
        """Start no process yet.

        Args:
            log: hears of deaths.
            work: what a process does, given its number, and a descriptor that can be read when
                this process has gone.
        """
        self._log = log
        self._work = work
        self._children: dict[int, int] = {}
        self._ending = False
        self._gone, self._alive = os.pipe()

    def run(self, count: int) -> None:
        """Keep this many processes until SIGTERM or SIGINT, and end them then."""
        for ending in ENDINGS:
            signal.signal(ending, self._end)
        for number in range(count):
            self._start(number)
        notify(b"READY=1")
        while self._children:
            child, status = os.wait()
            number = self._children.pop(child, -1)
            if self._ending or number < 0:  # one that looks after the database, perhaps
                continue
            code = os.waitstatus_to_exitcode(status)
            reason = f"signal {-code}" if code < 0 else f"status {code}"
            self._log.warning(f"process {child} of {count} ended with {reason}; starting another")
            time.sleep(PAUSE)
            self._start(number)

    def _start(self, number: int) -> None:
        # Until each of the two knows what it is, a signal waits.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
        try:
            if self._ending:
                return
            child = os.fork()
            if child:
                self._children[child] = number
                return
            for ending in ENDINGS:
                signal.signal(ending, signal.SIG_DFL)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        status = 1
        try:
            os.close(self._alive)
            os.environ.pop("NOTIFY_SOCKET", None)  # the parent speaks for all
            self._work(number, self._gone)
            status = 0
        except Exception as error:  # noqa: BLE001 - the parent sees the status alone
            self._log.fatal(place_of(error))
        finally:
            # No destructor runs: those of stale handles would write into the database.
            os._exit(status)

    def _end(self, signum: int, frame: FrameType | None) -> None:
        self._ending = True
        for child in self._children:
            os.kill(child, signal.SIGTERM)
