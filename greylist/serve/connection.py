"""One client of the server: what it asks, and what it has not taken yet."""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from greylist.protocol import Parser, RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from greylist.protocol import Request

    Asked = Request | RequestError | None
    """A request; how the client broke the protocol; None at the end of its requests."""

READ = 65536
"""Bytes that are read at once; a connection that sends more takes several turns."""

REQUEST_LIMIT = 131072
"""Bytes of a request that is not whole yet; one of Postfix has about a thousand, and the longest
line alone LINE_LIMIT."""

REQUEST_TIME = 30.0
"""Seconds for a first request, for the rest of one that has begun, and for taking a reply. Postfix
connects when it has something to ask, and sends and reads without a pause."""


class Connection:
    """A client's socket; its requests are answered in their order.

    Attributes:
        descriptor: the socket's.
        ended: it is not answered any more.
        since: on the loop's clock: when it connected, when the last whole request came, or the
            first byte of the one that is not whole yet.
    """

    __slots__ = (
        "_parser", "_pending", "_poll", "_served", "_socket", "_unsent",
        "descriptor", "ended", "since",
    )  # fmt: skip

    def __init__(
        self,
        client: socket.socket,
        poll: select.epoll,
        garbage: Callable[[bytes], object],
        now: float,
    ) -> None:
        """Begin to read.

        Args:
            client: accepted, and not blocking.
            poll: is told what this connection waits for.
            garbage: called with each line that is no attribute.
            now: the loop's time, in seconds.
        """
        self._socket = client
        self._poll = poll
        self._parser = Parser(garbage)
        self._pending = 0
        self._unsent = b""
        self._served = False
        self.descriptor = client.fileno()
        self.ended = False
        self.since = now
        poll.register(self.descriptor, select.EPOLLIN)

    def read(self, now: float) -> list[Asked]:
        """Return what the client asks, in its order.

        Raises:
            OSError: the client has gone.
        """
        try:
            data = self._socket.recv(READ)
        except BlockingIOError:
            return []
        began = self._parser.began
        asked: list[Asked] = []
        try:
            if data:
                asked.extend(self._parser.feed(data))
            else:
                self._parser.end()
                asked.append(None)
        except RequestError as error:
            asked.append(error)
        if asked or not began:
            self.since = now
            self._pending = 0
        self._pending += len(data)
        if self._pending > REQUEST_LIMIT:
            asked.append(RequestError(f"request of more than {REQUEST_LIMIT} bytes"))
        return asked

    def send(self, replies: bytes) -> None:
        """Send replies; of a client that does not take them, read no more until it does.

        Raises:
            OSError: the client has gone.
        """
        self._served = True
        if not self._unsent:
            try:
                replies = replies[self._socket.send(replies) :]
            except BlockingIOError:
                pass
            if replies:
                self._poll.modify(self.descriptor, select.EPOLLOUT)
        self._unsent += replies

    def send_rest(self) -> bool:
        """Send what the client has room for now; return whether that was all.

        Raises:
            OSError: the client has gone.
        """
        try:
            self._unsent = self._unsent[self._socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        if self._unsent:
            return False
        if not self.ended:
            self._poll.modify(self.descriptor, select.EPOLLIN)
        return True

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way, and something has been: smtpd(8) may ask again."""
        return self._served and not self._unsent and not self._parser.began

    @property
    def has_replies(self) -> bool:
        """Whether there are replies that the client has not taken yet."""
        return bool(self._unsent)

    def close(self) -> None:
        """Hang up; replies that were not taken are lost."""
        self.ended = True
        self._poll.unregister(self.descriptor)
        with suppress(OSError):
            # A child that recovers the database has the socket too: closing would not be enough.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
