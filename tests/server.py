"""A running ``greylist serve``, and its clients."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time

from conftest import SCRIPT, request


class Server:
    """A server on a unix socket of a test's own."""

    def __init__(self, place, *arguments, listen=True, **options):
        self.path = str(place.directory / "socket")
        command = [SCRIPT, "--log", "stderr", "serve"]
        command += ["--listen", f"unix:{self.path}"] if listen else []
        # A file: a pipe that nobody empties would stop it.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed at the end
        self.process = subprocess.Popen(
            [*command, *arguments], env=place.environment, stderr=self._log, **options
        )
        if listen:
            self.connect().close()

    def connect(self, address=None, timeout=10):
        """Return a connection, made as soon as the server listens."""
        end = time.monotonic() + timeout
        while True:
            connection = socket.socket(socket.AF_UNIX if address is None else socket.AF_INET)
            connection.settimeout(timeout)
            try:
                connection.connect(address or self.path)
            except OSError:
                connection.close()
                if self.process.poll() is not None or time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return connection

    def ask(self, data, count=1):
        """Return so many replies to requests on a connection of their own."""
        with self.connect() as connection:
            connection.sendall(data)
            return replies(connection, count)

    def end(self, number=signal.SIGTERM):
        """End the server, and return its status."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(30)

    @property
    def said(self):
        """What it has logged."""
        self._log.seek(0)
        return self._log.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.end(signal.SIGKILL)
        self._log.close()


def replies(connection, count):
    """Return so many replies from a connection, or what came before its end."""
    data = b""
    while data.count(b"\n\n") < count:
        piece = connection.recv(65536)
        if not piece:
            break
        data += piece
    return data


def rss(pid):
    """Return the resident memory of a process in bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Conversation:
    """A connection to a server of its own, used as the process of a filter is."""

    def __init__(self, place, log):
        path = str(place.directory / "socket")
        command = [SCRIPT, "--log", "stderr", "serve", "--listen", f"unix:{path}"]
        self._server = subprocess.Popen(command, env=place.environment, stderr=log)
        self._socket = connected(path, self._server)
        self.stdin = self._socket.makefile("wb", buffering=0)
        self.stdout = self._socket.makefile("rb")
        self.returncode = None
        self._close = self.stdin.close
        self.stdin.close = self._end

    def _end(self):
        self._close()
        with contextlib.suppress(OSError):  # it has hung up
            self._socket.shutdown(socket.SHUT_WR)

    def wait(self, timeout):
        """Wait until the server hangs up."""
        self._socket.settimeout(timeout)
        with contextlib.suppress(ConnectionResetError):
            assert self._socket.recv(1) == b""
        self.returncode = "hung up"

    def kill(self):
        """End the server, which has not ended by itself."""
        assert self._server.poll() is None
        self._server.kill()
        self._server.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for one in (self.stdout, self._socket):
            one.close()


def connected(address, process=None, timeout=20):
    """Return a connection to a server, made as soon as it listens.

    Args:
        address: a path, or a host and a port.
        process: the server's; when it has ended, nobody is waited for.
        timeout: seconds.
    """
    end = time.monotonic() + timeout
    while True:
        connection = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        connection.settimeout(timeout)
        try:
            connection.connect(address)
        except OSError:
            connection.close()
            gone = process is not None and process.poll() is not None
            if gone or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return connection


def several(start, count):
    """Return requests that differ in their sender."""
    return b"".join(request(sender=f"u{n}@example.com") for n in range(start, start + count))
