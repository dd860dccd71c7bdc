"""A Valkey or Redis server for a row, and proxies before it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time

from benchmarks.loader import PATIENCE, LoadError
from greylist.store.valkey.connection import Connection
from greylist.store.valkey.errors import Unavailable
from greylist.store.valkey.secrets import Secrets
from greylist.store.valkey.url import parse

PROGRAM = next(filter(shutil.which, ("valkey-server", "redis-server")), "valkey-server")


class SharedServer:
    """A server without files, on a Unix socket and a port.

    Attributes:
        unix: the database's setting, by the socket.
        port: the port on 127.0.0.1.
    """

    def __init__(self, directory: str, port: int) -> None:
        os.makedirs(directory, 0o755, exist_ok=True)
        path = os.path.join(directory, "s")
        self.unix = f"valkey+unix://{path}"
        self.port = port
        self._proxies: list[subprocess.Popen[bytes]] = []
        command = [PROGRAM, "--port", str(port), "--bind", "127.0.0.1", "--unixsocket", path]
        command += ["--unixsocketperm", "777", "--save", "", "--dir", directory]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _wait(lambda: self.ask(b"PING"))

    def ask(self, *command: bytes) -> bytes:
        """Return the reply to a command."""
        connection = Connection(parse(self.unix), Secrets())
        try:
            reply: bytes = connection.one(time.monotonic() + PATIENCE, *command)
            return reply
        finally:
            connection.close()

    def memory(self) -> int:
        """Return the bytes of memory that it uses."""
        return int(self.ask(b"INFO", b"memory").partition(b"used_memory:")[2].split()[0])

    def proxy(self, port: int, milliseconds: float) -> Proxy:
        """Start a proxy on a port that holds answers back for some time."""
        command = [sys.executable, "-m", "benchmarks.delay"]
        command += [str(port), str(self.port), str(milliseconds)]
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        self._proxies.append(subprocess.Popen(command, cwd=root))
        proxy = Proxy(port)
        _wait(proxy.trips)
        return proxy

    def stop(self) -> None:
        """End it, and its proxies."""
        for process in (*self._proxies, self._process):
            process.kill()
            process.wait()


class Proxy:
    """A running proxy.

    Attributes:
        url: the database's setting.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = f"valkey://127.0.0.1:{port}"

    def trips(self) -> int:
        """Return how often somebody has asked."""
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE) as connection:
            connection.sendall(b"?")
            return int(connection.recv(64))


def _wait(function: object) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            function()  # type: ignore[operator]
        except (OSError, Unavailable) as error:
            if time.monotonic() > end:
                raise LoadError("the server does not start") from error
            time.sleep(0.02)
        else:
            return
