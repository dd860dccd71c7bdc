"""Our programs forked from the test's process: the same code, without the start of Python."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from typing import TYPE_CHECKING

from greylist import __main__ as program
from tests.reliability.harness import LONGEST
from tests.waiting import readable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reliability.harness import House


class Forked:
    """A filter, or the command with these arguments, talked to over a socket."""

    def __init__(
        self,
        house: House,
        arguments: tuple[str, ...] = (),
        main: Callable[[], object] = program.main,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Args: main: what is run; before: is called in the child first."""
        self._ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.environ["GREYLIST_CONFIG"] = str(house.config)
                sys.argv = ["greylist", *arguments]
                for number in (0, 1):
                    os.dup2(theirs.fileno(), number)
                shown = os.dup(2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
                # What is buffered is the parent's, and so is whether it can seek.
                sys.stdin, sys.stdout, sys.stderr = map(open, range(3), "rww")
                self._ours.close()
                theirs.close()
                before()
                main()
            except BaseException:  # which a program of ours says in words
                os.write(shown, traceback.format_exc().encode())
            finally:
                os._exit(70)
        theirs.close()

    def ask(self, data: bytes) -> bytes:
        """Return the reply to a request; none if the program hung up, or took too long."""
        try:
            self._ours.sendall(data)
            if readable(self._ours, seconds=LONGEST):
                return self._ours.recv(4096)
            os.kill(self.pid, signal.SIGKILL)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return b""

    def end(self) -> int:
        """Close the connection; return the exit status, or the negative signal."""
        self._ours.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def ask_forked(house: House, data: bytes) -> bytes:
    """Return what a filter answers, or nothing."""
    process = Forked(house)
    reply = process.ask(data)
    process.end()
    return reply
