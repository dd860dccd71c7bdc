"""What the tests of a shared database share: hosts with filters, and a proxy that has trouble."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
import time
from itertools import count
from pathlib import Path

import conftest

from greylist.log import Log
from greylist.store.valkey.outage import Outage
from tests.reliability.harness import FilterProcess
from tests.waiting import readable

FRIEND = "203.0.113.99"
"""A client on the whitelist of each host."""

DUNNO = b"action=dunno\n\n"
DEFERRED = b"action=defer_if_permit Service is temporarily unavailable\n\n"


_messages = count()


def request(**attributes: str | bytes) -> bytes:
    """Return a request in a message of its own: it is no second question about one RCPT."""
    return conftest.request(**{"instance": f"{next(_messages):x}.1", **attributes})


class SharedHouse:
    """One host of several: its settings, and filters that log into files."""

    def __init__(self, database: str, **settings) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="greylist-host-", dir="/tmp"))
        self.config = self.directory / "greylist.cf"
        self.database = database
        self.filters: list[FilterProcess] = []
        whitelist = self.directory / "nogreylist"
        whitelist.write_text(f"client_address={FRIEND}\n")
        settings = {"database": database, "whitelist": whitelist, **settings}
        self.config.write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))

    def filter(self) -> FilterProcess:
        """Start a filter; it has answered a request that needs no database."""
        process = FilterProcess(self, arguments=["--log", "stderr"], stderr="file")
        self.filters.append(process)
        assert process.ask(request(client_address=FRIEND)) == DUNNO
        return process

    @property
    def outage(self) -> Path:
        """The file by which the filters tell each other that the database is away."""
        return Path(Outage(self.database, Log())._path)

    def rest(self) -> None:
        """Let the time go by for which nobody tries."""
        before = time.time() - 6
        os.utime(self.outage, (before, before))

    def close(self) -> str:
        """End all, and return what the filters have logged."""
        text = ""
        for process in self.filters:
            text += logged(process)
            process.kill()
        self.outage.unlink(missing_ok=True)
        shutil.rmtree(self.directory)
        return text


def logged(process: FilterProcess) -> str:
    """Return what a filter has logged so far."""
    if process.log.closed:
        return ""
    return os.pread(process.log.fileno(), 1 << 20, 0).decode()


class Proxy:
    """Stands between filters and a server, and has trouble with what comes back.

    Attributes:
        port: where it listens on 127.0.0.1.
        url: the database's setting.
        cut: after how many bytes from the server it hangs up; None for never.
        trickle: seconds between two bytes from the server; 0 for all at once.
        trips: how many times somebody has asked, with one or more commands.
        connections: how many connections there were.
    """

    def __init__(self, port: int) -> None:
        """Args: port: of the server on 127.0.0.1."""
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"valkey://127.0.0.1:{self.port}"
        self.cut: int | None = None
        self.trickle = 0.0
        self.trips = self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, socket.create_connection(("127.0.0.1", self._server)) as server:
                while True:
                    ready = readable(client, server)
                    for source in ready:
                        data = source.recv(65536)
                        if not data:
                            return
                        if source is client:
                            self.trips += 1
                            server.sendall(data)
                        elif not self._answer(client, data):
                            return
        except OSError:
            pass

    def _answer(self, client: socket.socket, data: bytes) -> bool:
        """Pass on what the server says; return whether to go on."""
        if self.cut is not None:
            client.sendall(data[: self.cut])
            return False
        if not self.trickle:
            client.sendall(data)
        for place in range(len(data) if self.trickle else 0):
            client.sendall(data[place : place + 1])
            time.sleep(self.trickle)
        return True

    def close(self) -> None:
        self._listener.close()
