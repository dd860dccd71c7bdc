"""A TCP proxy that is some milliseconds away, and counts what is asked: a process of its own.

    python -m benchmarks.delay PORT SERVER-PORT MILLISECONDS

It holds each answer back for that time. A connection to it whose first byte is a question mark is
told, as a decimal line, how many times somebody has asked so far, and closed.
"""

from __future__ import annotations

import select
import socket
import sys
import threading
import time


class Delay:
    """The proxy."""

    def __init__(self, port: int, server: int, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._trips = 0
        self._listener = socket.create_server(("127.0.0.1", port), backlog=100)

    def run(self) -> None:
        """Serve until the end of the process."""
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        first = client.recv(65536)
        if first == b"?":
            client.sendall(b"%d\n" % self._trips)
        elif first:
            with socket.create_connection(("127.0.0.1", self._server)) as server:
                server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pass_on(client, server, first)
        client.close()

    def _pass_on(self, client: socket.socket, server: socket.socket, data: bytes) -> None:
        source = client
        while data:
            if source is client:
                self._trips += 1
                server.sendall(data)
            else:
                time.sleep(self._seconds)
                client.sendall(data)
            ready, _, _ = select.select([client, server], [], [])
            source = ready[0]
            data = source.recv(65536)


if __name__ == "__main__":
    Delay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 1000).run()
