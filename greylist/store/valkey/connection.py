"""A connection to a Valkey or Redis server: commands out, replies in, before a deadline.

request :== "*" count CRLF *("$" size CRLF bytes CRLF)       (RESP2; hiredis reads the replies)

A connection that had trouble is closed at once: no late reply may be taken for another one's.
"""

from __future__ import annotations

import _socket
import time

from greylist.native import extension
from greylist.store.valkey.errors import Cut, Refused, Unavailable, left, reason
from greylist.store.valkey.resolver import resolve
from greylist.watched_file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from socket import socket
    from typing import Any

    from greylist.store.valkey.secrets import Secrets
    from greylist.store.valkey.url import Address

    Command = Sequence[bytes]
    Find = Callable[[float], tuple[str, int]]

_READ = 65536

REDISCOVER = ("READONLY", "MASTERDOWN", "LOADING")
"""How errors begin of a server that is not the master, or not yet."""


def pack(command: Command) -> bytes:
    """Return a command as it stands on the wire."""
    parts = [b"$%d\r\n%s\r\n" % (len(part), part) for part in command]
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


class Connection:
    """One server, connected when it is asked first, and anew when it hung up in between."""

    def __init__(self, address: Address, secrets: Secrets, find: Find | None = None) -> None:
        """Connect to nothing yet.

        Args:
            address: of one server, or of who knows it.
            secrets: who we are there.
            find: returns the host and port of the server before a deadline.
        """
        self._address = address
        self._secrets = secrets
        self._find = find
        self._socket: Any = None
        self._reader: Any = None

    def ask(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        """Return the replies to commands, all sent at once; an error is a ``Refused`` in the list.

        Args:
            commands: each a name and its arguments.
            deadline: when to give up, in seconds of ``time.monotonic``.

        Raises:
            Unavailable: there is no reply.
        """
        used = self._socket is not None
        try:
            return self._ask(commands, deadline)
        except Cut:
            if not used:
                raise
            # It hung up, or was started again, since the last request. What it may have stored
            # before is seen when the function runs again.
            return self._ask(commands, deadline)

    def _ask(self, commands: Sequence[Command], deadline: float) -> list[Any]:
        try:
            greeting: list[Command] = []
            if self._socket is None:
                self._socket = self._connect(deadline)
                self._reader = extension("hiredis", "hiredis").Reader()
                greeting = self._greeting()
            self._send(b"".join(map(pack, (*greeting, *commands))), deadline)
            replies = [self._receive(deadline) for _ in range(len(greeting) + len(commands))]
            for reply in replies[: len(greeting)]:
                if isinstance(reply, Refused):
                    raise reply
            return replies[len(greeting) :]
        except BaseException:
            self.close()
            raise

    def one(self, deadline: float, *command: bytes) -> Any:
        """Return the reply to one command.

        Raises:
            Unavailable: there is none, or it is an error.
        """
        (reply,) = self.ask([command], deadline)
        if isinstance(reply, Refused):
            raise reply
        return reply

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _greeting(self) -> list[Command]:
        """Return what a new connection begins with; it goes with the first commands, as one trip.

        Raises:
            Unavailable: the file of the password cannot be read.
        """
        address = self._address
        greeting: list[Command] = []
        password = address.password or read_password(self._secrets.password)
        if password:
            user = address.user.encode("utf-8", "surrogateescape")
            secret = password.encode("utf-8", "surrogateescape")
            greeting.append((b"AUTH", user, secret) if user else (b"AUTH", secret))
        if address.db:
            greeting.append((b"SELECT", b"%d" % address.db))
        return greeting

    def _connect(self, deadline: float) -> Any:
        address = self._address
        if address.kind == "unix":
            return _connected(_socket.AF_UNIX, address.path, deadline)
        host, port = self._find(deadline) if self._find else address.hosts[0]
        error: Unavailable = Cut(f"{host}: no address")
        found = resolve(host, port, deadline)
        for number, (family, place) in enumerate(found):
            now = time.monotonic()
            try:
                plain = _connected(family, place, now + (deadline - now) / (len(found) - number))
                return self._secured(plain, host, deadline) if address.tls else plain
            except Cut as failure:
                error = failure
        raise error

    def _secured(self, plain: Any, host: str, deadline: float) -> Any:
        from greylist.store.valkey.tls import secured  # ssl takes longer than all else together

        try:
            return secured(plain, host, self._secrets, left(deadline))
        except OSError as error:
            plain.close()
            raise Cut(reason(error)) from error

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            self._socket.settimeout(left(deadline))
            self._socket.sendall(data)
        except OSError as error:
            raise _broken(error) from error

    def _receive(self, deadline: float) -> Any:
        reader = self._reader
        try:
            while (reply := reader.gets()) is False:
                self._socket.settimeout(left(deadline))
                data = self._socket.recv(_READ)
                if not data:
                    raise Cut("the server hung up")
                reader.feed(data)
        except OSError as error:
            raise _broken(error) from error
        except extension("hiredis", "hiredis").ProtocolError as error:
            raise Unavailable(f"no Valkey or Redis: {error}") from error
        return Refused(str(reply)) if isinstance(reply, Exception) else reply


def read_password(path: str) -> str:
    """Return the password that a file holds, if there is one.

    Raises:
        Unavailable: the file cannot be read.
    """
    if not path:
        return ""
    try:
        return File(path).read().decode("utf-8", "surrogateescape").strip("\r\n")
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error


def _connected(family: int, place: Any, deadline: float) -> socket:
    plain = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        plain.settimeout(left(deadline))
        plain.connect(place)
        if family != _socket.AF_UNIX:
            plain.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
    except OSError as error:
        plain.close()
        raise Cut(reason(error)) from error
    return plain  # type: ignore[return-value]  # what the class in socket.py is made of


def _broken(error: OSError) -> Unavailable:
    # No second try after a time-out: there is no time left for one.
    late = isinstance(error, TimeoutError)
    return Unavailable("no answer in time") if late else Cut(reason(error))
