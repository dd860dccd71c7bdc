"""Many connections in one process; what has arrived when the loop turns is decided together."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from greylist.protocol import Parser, RequestError, reply
from greylist.serve.listen import notify
from greylist.store import StoreError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from greylist.answer import Responder
    from greylist.policy import Decision
    from greylist.protocol import Request

    Observe = Callable[[list[Decision | RequestError | StoreError], float], None]

BATCH = 512
"""Requests in a transaction at most: it holds the lock for some 10 ms then."""

LAST_WORDS = 0.5
"""Seconds in which the last replies have to be taken at the end."""


class Connection(asyncio.Protocol):
    """One client; its requests are answered in their order."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = Parser(server.responder.garbage)
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Queue the requests that are whole."""
        server = self._server
        try:
            for request in self._parser.feed(data):
                server.queue(self, request)
        except RequestError as error:
            server.queue(self, error)

    def eof_received(self) -> bool:
        """End when all that has arrived is answered; a request cut short is broken."""
        try:
            self._parser.end()
        except RequestError as error:
            self._server.queue(self, error)
        else:
            self._server.queue(self, None)
        return True

    def pause_writing(self) -> None:
        """Read no more of a client that does not take its replies."""
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read on."""
        self.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        """Make room for another connection."""
        self._server.lost(self)


class Server:
    """The connections of one process, and the requests that wait for the next turn."""

    def __init__(self, responder: Responder, listeners: list[socket.socket]) -> None:
        """Args: responder: answers; listeners: the sockets, listening and not blocking."""
        self.responder = responder
        self.connections: set[Connection] = set()
        self.observe: Observe | None = None
        self.shown: asyncio.Server | None = None
        self._listeners = listeners
        self._waiting: list[tuple[Connection, Request | RequestError | None]] = []
        self._accepting = False
        self._loop = asyncio.get_running_loop()
        self._accepted: set[asyncio.Task[object]] = set()
        self._ended = asyncio.Event()
        self._empty = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; then answer what has arrived, and return."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._ended.set)
        self._accept(True)
        notify(b"READY=1")
        await self._ended.wait()
        notify(b"STOPPING=1")
        self._accept(False)
        # One turn for what the kernel has already received.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._flush()
        for connection in tuple(self.connections):
            connection.transport.close()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), LAST_WORDS)

    def _accept(self, wanted: bool) -> None:
        """Accept connections, or leave them in the kernel's queue."""
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for listener in self._listeners:
            if wanted:
                self._loop.add_reader(listener, self._take, listener)
            else:
                self._loop.remove_reader(listener)

    def _take(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # another worker has it, or it has gone
        except OSError as error:  # no descriptor is left: the newest has to wait
            self.responder.log.warning(f"cannot accept a connection: {error.strerror}")
            self._accept(False)
            self._loop.call_later(1, self._accept, True)
            return
        client.setblocking(False)
        made = self._loop.connect_accepted_socket(lambda: Connection(self), client)
        task = self._loop.create_task(made)
        self._accepted.add(task)
        task.add_done_callback(self._made)

    def _made(self, task: asyncio.Task[object]) -> None:
        self._accepted.discard(task)
        if not task.cancelled() and task.exception() is None and self._full():
            self._accept(False)

    def _full(self) -> bool:
        most: int = self.responder.settings.max_connections
        return len(self.connections) >= most

    def lost(self, connection: Connection) -> None:
        """Forget a connection; one that waits for the room it leaves is accepted."""
        self.connections.discard(connection)
        if self._ended.is_set() and not self.connections:
            self._empty.set()
        if not self._ended.is_set() and not self._full():
            self._accept(True)

    def queue(self, connection: Connection, request: Request | RequestError | None) -> None:
        """Keep a request for the next turn; None is the end of a connection's requests."""
        if not self._waiting:
            # What the loop has already seen arrive is queued before this is called.
            self._loop.call_soon(self._flush)
        self._waiting.append((connection, request))

    def _flush(self) -> None:
        """Answer all that waits."""
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            self._answer(batch)

    def _answer(self, batch: list[tuple[Connection, Request | RequestError | None]]) -> None:
        """Answer a batch in one transaction; in trouble hang up, as Postfix asks for."""
        asked = [(connection, one) for connection, one in batch if isinstance(one, dict)]
        began = self._loop.time()
        decided: list[Decision | RequestError | StoreError] = []
        try:
            decided += self.responder.decide_all([request for _, request in asked])
        except StoreError as error:
            self.responder.log.fatal(str(error))
            decided += [error] * len(asked)
        if self.observe and asked:
            self.observe(decided, self._loop.time() - began)
        answers = iter(decided)
        replies: dict[Connection, list[bytes]] = {}
        ended: set[Connection] = set()
        for connection, one in batch:
            answer = next(answers) if isinstance(one, dict) else one
            if connection in ended:
                continue
            if answer is None or isinstance(answer, Exception):
                ended.add(connection)
                if isinstance(answer, RequestError):
                    self.responder.log.fatal(str(answer))
            else:
                replies.setdefault(connection, []).append(reply(answer.action))
        for connection, actions in replies.items():
            connection.transport.write(b"".join(actions))
        for connection in ended:
            connection.transport.close()


def serve(
    responder: Responder,
    listeners: list[socket.socket],
    prepare: Callable[[Server], Awaitable[None]] | None = None,
) -> None:
    """Serve these sockets until SIGTERM or SIGINT.

    Args:
        responder: answers the requests.
        listeners: the sockets, listening and not blocking.
        prepare: is called in the loop before the first connection is accepted.
    """

    async def run() -> None:
        server = Server(responder, listeners)
        if prepare:
            await prepare(server)
        await server.run()

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run())
    if responder.store:
        responder.store.close()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's, where it is installed: half as fast again."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory
