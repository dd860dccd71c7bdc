"""A spawn(8) of our own: one process per connection, the socket its descriptors 0, 1 and 2.

    spawner.py SOCKET PROGRAM [ARGUMENT...]

SOCKET is a path, or a TCP port on the loopback address.
"""

from __future__ import annotations

import os
import signal
import socket
import sys


def listen(address: str) -> socket.socket:
    """Return a listening socket."""
    if address.isdigit():
        server = socket.socket(socket.AF_INET)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", int(address)))
    else:
        server = socket.socket(socket.AF_UNIX)
        server.bind(address)
        os.chmod(address, 0o666)
    server.listen(1024)
    return server


def main(address: str, argv: list[str]) -> None:
    """Serve until a SIGTERM."""
    server = listen(address)
    # The kernel reaps; the children, who may have children of their own, get the default back.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = server.accept()
        number = connection.fileno()
        if connection.family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        os.posix_spawn(
            argv[0],
            argv,
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, number, target) for target in (0, 1, 2)],
            setsigdef=[signal.SIGCHLD],
        )
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
