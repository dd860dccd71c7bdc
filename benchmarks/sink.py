"""A log daemon that only counts, bound at the log socket."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct

PATH = "/dev/log"
_COUNT = struct.Struct("Q")


class Sink:
    """A process that receives what is logged.

    On a machine with a log daemon of its own nothing is bound: that daemon gets the lines, and
    logging cannot be switched off for those who have no switch.

    Attributes:
        ours: whether this class binds the log socket.
    """

    def __init__(self) -> None:
        self.ours = not os.path.exists(PATH)
        self._child = 0
        self._memory = mmap.mmap(-1, _COUNT.size)

    @property
    def count(self) -> int:
        """The lines received so far."""
        count: int = _COUNT.unpack_from(self._memory)[0]
        return count

    def start(self) -> None:
        """Bind the log socket and receive."""
        if not self.ours or self._child:
            return
        if os.path.lexists(PATH):
            os.unlink(PATH)  # a dead one, or it would exist
        server = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        server.bind(PATH)
        os.chmod(PATH, 0o666)
        self._child = os.fork()
        if self._child == 0:
            try:
                # Or a connection that the parent closes would stay open in here.
                os.dup2(server.fileno(), 3)
                os.closerange(4, os.sysconf("SC_OPEN_MAX"))
                self._receive(socket.socket(fileno=3))
            finally:
                os._exit(1)
        server.close()

    def _receive(self, server: socket.socket) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        buffer = bytearray(8192)
        count = self.count
        while True:
            server.recv_into(buffer)
            count += 1
            _COUNT.pack_into(self._memory, 0, count)

    def stop(self) -> None:
        """Take the log socket away."""
        if self._child:
            os.unlink(PATH)
            os.kill(self._child, signal.SIGTERM)
            os.waitpid(self._child, 0)
            self._child = 0
