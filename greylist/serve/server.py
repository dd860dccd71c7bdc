"""Many connections in one process; requests that have arrived together are decided together."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from greylist.log import place_of
from greylist.protocol import Parser, RequestError, reply
from greylist.serve.descriptors import room
from greylist.serve.listen import notify
from greylist.store import StoreError

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from greylist.answer import Responder
    from greylist.decision import Decision
    from greylist.protocol import Request

    Observe = Callable[[Sequence[Decision | RequestError | StoreError], float], None]

BATCH = 512
"""Requests in a transaction at most: it holds the lock for some 10 ms then."""

READ = 65536
"""Bytes that are read at once; a connection that sends more takes several turns."""

LAST_WORDS = 0.5
"""Seconds in which the last replies have to be taken at the end."""


class Connection(asyncio.BufferedProtocol):
    """One client; its requests are answered in their order.

    Attributes:
        transport: where its replies go.
        ended: it is not answered any more.
    """

    __slots__ = ("_parser", "_server", "ended", "transport")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = Parser(server.responder.garbage)
        self.ended = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's has no such base
        self._server.connections.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where to read to: one buffer for all, as it is emptied at once."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Queue the requests that are whole."""
        server = self._server
        try:
            for request in self._parser.feed(server.buffer[:nbytes].tobytes()):
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

    def hang_up(self) -> None:
        """Answer no further request, and close the connection when its replies are written."""
        self.ended = True
        self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        """Make room for another connection."""
        self.ended = True
        self._server.lost(self)


class Server:
    """The connections of one process, and the requests that wait for the next turn.

    Attributes:
        responder: answers.
        connections: those that are open.
        buffer: what a connection has sent, while it is parsed.
        observe: is told what was decided, and how many seconds that took.
        shown: the server of the figures, if there is one.
    """

    def __init__(self, responder: Responder, listeners: list[socket.socket]) -> None:
        """Args: responder: answers; listeners: the sockets, listening and not blocking."""
        self.responder = responder
        self.connections: set[Connection] = set()
        self.buffer = memoryview(bytearray(READ))
        self.observe: Observe | None = None
        self.shown: asyncio.Server | None = None
        self._listeners = listeners
        self._waiting: list[tuple[Connection, Request | RequestError | None]] = []
        self._accepting = False
        self._most = room(responder.settings.max_connections, responder.log.warning)
        self._loop = asyncio.get_running_loop()
        self._accepted: set[asyncio.Task[object]] = set()
        self._ended = asyncio.Event()
        self._empty = asyncio.Event()

    async def run(self, parent: int | None = None) -> None:
        """Serve until SIGTERM or SIGINT; then answer what has arrived, and return.

        Args:
            parent: a descriptor that can be read when the process that started this one has gone.
        """
        self._loop.set_exception_handler(self._log_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._ended.set)
        if parent is not None:
            self._loop.add_reader(parent, self._ended.set)
        self._accept(True)
        notify(b"READY=1")
        await self._ended.wait()
        if parent is not None:
            self._loop.remove_reader(parent)
        notify(b"STOPPING=1")
        self._accept(False)
        # One turn for what the kernel has already received.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self._flush()
        for connection in tuple(self.connections):
            connection.hang_up()
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), LAST_WORDS)

    def _log_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what asyncio would write to standard error, which may not be there."""
        error = context.get("exception")
        self.responder.log.fatal(f"{context['message']}: {error!r}")

    def _accept(self, wanted: bool) -> None:
        """Accept connections, or leave them in the kernel's queue."""
        if wanted == self._accepting or (wanted and self._ended.is_set()):
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
        if self._full():
            self._accept(False)

    def _made(self, task: asyncio.Task[object]) -> None:
        self._accepted.discard(task)
        if not task.cancelled():
            task.exception()  # it is known now: the client has gone
        # Both the task and its connection counted until now.
        self._accept(not self._full())

    def _full(self) -> bool:
        most = min(self.responder.settings.max_connections, self._most)
        return len(self.connections) + len(self._accepted) >= most

    def lost(self, connection: Connection) -> None:
        """Forget a connection; one that waits for the room it leaves is accepted."""
        self.connections.discard(connection)
        if not self._ended.is_set():
            self._accept(not self._full())
        elif not self.connections:
            self._empty.set()

    def queue(self, connection: Connection, request: Request | RequestError | None) -> None:
        """Keep a request for the next turn; None is the end of a connection's requests."""
        if not self._waiting:
            # What the loop has already seen arrive is queued before this is called.
            self._loop.call_soon(self._flush)
        self._waiting.append((connection, request))

    def _flush(self) -> None:
        """Answer all waiting requests; in trouble hang up, as Postfix asks for."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), BATCH):
            try:
                self._answer(waiting[start : start + BATCH])
            except Exception as error:  # noqa: BLE001 - none of them may wait for ever
                known = isinstance(error, StoreError)
                self.responder.log.fatal(str(error) if known else place_of(error))
                # All of them: each batch could wait for the lock as long as this one.
                for connection, _ in waiting[start:]:
                    connection.hang_up()
                return

    def _answer(self, batch: list[tuple[Connection, Request | RequestError | None]]) -> None:
        """Answer a batch in one transaction.

        Raises:
            StoreError: nobody was answered.
        """
        # Of who broke the protocol in an earlier batch, nothing more is asked.
        batch = [pair for pair in batch if not pair[0].ended]
        asked = [one for _, one in batch if isinstance(one, dict)]
        answers = iter(self._decide(asked) if asked else ())
        for connection, one in batch:
            answer = next(answers) if isinstance(one, dict) else one
            if connection.ended:
                continue
            if answer is None or isinstance(answer, RequestError):
                connection.hang_up()
                if answer:
                    self.responder.log.fatal(str(answer))
            else:
                connection.transport.write(reply(answer.action))

    def _decide(self, asked: list[Request]) -> list[Decision | RequestError]:
        if not self.observe:
            return self.responder.decide_all(asked)
        began = self._loop.time()
        try:
            decided = self.responder.decide_all(asked)
        except StoreError as error:
            self.observe([error] * len(asked), self._loop.time() - began)
            raise
        self.observe(decided, self._loop.time() - began)
        return decided


def serve(
    responder: Responder,
    listeners: list[socket.socket],
    prepare: Callable[[Server], Awaitable[None]] | None = None,
    parent: int | None = None,
) -> None:
    """Serve these sockets until SIGTERM or SIGINT.

    Args:
        responder: answers the requests.
        listeners: the sockets, listening and not blocking.
        prepare: is called in the loop before the first connection is accepted.
        parent: a descriptor that can be read when the process that started this one has gone.
    """

    async def run() -> None:
        server = Server(responder, listeners)
        if prepare:
            await prepare(server)
        await server.run(parent)

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
