"""Valkey or Redis servers as a test starts them: on loopback, with files of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from postfix_harness import free_port

from greylist.store.valkey.connection import Connection
from greylist.store.valkey.errors import Refused, Unavailable
from greylist.store.valkey.secrets import Secrets
from greylist.store.valkey.url import parse

if TYPE_CHECKING:
    from typing import Self

PROGRAM = next(filter(shutil.which, ("valkey-server", "redis-server")), "valkey-server")


class ValkeyServer:
    """A server in a directory of its own, in /tmp: the path of a socket has to be short.

    Attributes:
        directory: where its files are.
        port: where 127.0.0.1 speaks its protocol.
        socket: the path of its Unix socket.
        url: the database's setting, by that socket.
        tcp: the same by the port.
    """

    def __init__(self, *options: str, start: bool = True) -> None:
        """Args: options: arguments of the program; start: whether to start it now."""
        self.directory = Path(tempfile.mkdtemp(prefix="greylist-valkey-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.port = free_port()
        self.socket = self.directory / "s"
        self.url = f"valkey+unix://{self.socket}"
        self.tcp = f"valkey://127.0.0.1:{self.port}"
        self.options = options
        self.process: subprocess.Popen | None = None
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        self.launch(*options)
        end = time.monotonic() + 20
        while True:
            try:
                self.ask("PING")
                return
            except Refused:
                return  # it wants a password
            except Unavailable:
                assert self.process.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < end, (self.directory / "log").read_text()
                time.sleep(0.01)

    def launch(self, *options: str) -> None:
        """Start it, and do not wait."""
        base = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket),
                "--unixsocketperm", "777", "--save", "", "--dir", str(self.directory),
                "--databases", "4"]  # fmt: skip
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, *base, *self.options, *options], stdout=log, stderr=log
            )

    def ask(self, *command: str | bytes, seconds: float = 5, url: str = ""):
        """Return the reply to a command."""
        words = [word.encode() if isinstance(word, str) else word for word in command]
        connection = Connection(parse(url or self.url), Secrets())
        try:
            return connection.one(time.monotonic() + seconds, *words)
        finally:
            connection.close()

    def kill(self) -> None:
        """Kill it: nothing is saved that is not yet."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def close(self) -> None:
        """Kill it, and delete its files."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def stored(self) -> list[bytes]:
        return sorted(self.ask("KEYS", "*"))


class ValkeyCluster:
    """Three masters that share the keys.

    Attributes:
        servers: the masters.
        url: the database's setting.
    """

    def __init__(self) -> None:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port")
        # Without a port of its own the bus would be at one that there may not be: port + 10000.
        buses = [str(free_port()) for _ in range(3)]
        self.servers: list[ValkeyServer] = []
        try:
            self._start(options, buses)
        except BaseException:
            self.close()
            raise
        self.url = "valkey+cluster://" + ",".join(f"127.0.0.1:{s.port}" for s in self.servers)

    def _start(self, options: tuple[str, ...], buses: list[str]) -> None:
        for bus in buses:
            self.servers.append(ValkeyServer(*options, bus))
        first = self.servers[0]
        for number, server in enumerate(self.servers):
            start, end = 16384 * number // 3, 16384 * (number + 1) // 3 - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", str(start), str(end))
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", str(number + 1))
            server.ask("CLUSTER", "MEET", "127.0.0.1", str(first.port), buses[0])
        end = time.monotonic() + 20
        while not all(b"cluster_state:ok" in s.ask("CLUSTER", "INFO") for s in self.servers):
            assert time.monotonic() < end, first.ask("CLUSTER", "INFO").decode()
            time.sleep(0.02)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the masters, and delete their files."""
        for server in self.servers:
            server.close()
