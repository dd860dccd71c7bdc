"""Many connections in one process; requests that have arrived together are decided together.

The connections have a poll of their own, which the event loop watches as one descriptor: what a
turn costs beside its requests is the loop's once, not once a connection. The loop is there for
signals, timers and the figures.
"""

from __future__ import annotations

import asyncio
import select
import signal
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from greylist.log import place_of
from greylist.protocol import RequestError, reply
from greylist.serve.connection import REQUEST_TIME, Connection
from greylist.serve.descriptors import room
from greylist.serve.listen import notify
from greylist.store import StoreError, StoreSpent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import Any

    from greylist.answer import Responder
    from greylist.decision import Decision
    from greylist.protocol import Request
    from greylist.serve.connection import Asked

    Observe = Callable[[Sequence[Decision | RequestError | StoreError], float], None]
    Batch = list[tuple[Connection, Asked]]

BATCH = 512
"""Requests in a transaction at most: it holds the lock for some 10 ms then."""

LAST_WORDS = 0.4
"""Seconds in which the last requests are read, and as many in which the last replies are taken."""

SWEEP_EVERY = 5.0
"""Seconds between two looks for connections that have been silent for too long."""

IDLE_TIME = 300.0
"""Seconds for which smtpd(8) keeps a connection that it does not use (postconf(5),
smtpd_policy_service_max_idle). When there is no room, one that is idle for longer makes some."""


class Server:
    """The connections of one process.

    Attributes:
        responder: answers.
        connections: those that are open, by their descriptors.
        observe: is told what was decided, and how many seconds that took.
        shown: the server of the figures, if there is one.
    """

    def __init__(self, responder: Responder, listeners: list[socket.socket]) -> None:
        """Args: responder: answers; listeners: the sockets, listening and not blocking."""
        self.responder = responder
        self.connections: dict[int, Connection] = {}
        self.observe: Observe | None = None
        self.shown: asyncio.Server | None = None
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._poll = select.epoll()
        self._accepting = False
        self._most = room(self._wanted, responder.log.warning)
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._failure: StoreSpent | None = None
        self._empty = asyncio.Event()

    async def run(self, parent: int | None = None) -> None:
        """Serve until SIGTERM or SIGINT; then answer what has arrived, and return.

        Args:
            parent: a descriptor that can be read when the process that started this one has gone.

        Raises:
            StoreSpent: another process has to serve from now on.
        """
        self._loop.set_exception_handler(self._log_exception)
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._ended.set)
        if parent is not None:
            self._loop.add_reader(parent, self._ended.set)
        self._loop.add_reader(self._poll.fileno(), self._turn)
        self._loop.call_later(SWEEP_EVERY, self._sweep)
        self._accept(True)
        notify(b"READY=1")
        await self._ended.wait()
        if parent is not None:
            self._loop.remove_reader(parent)
        notify(b"STOPPING=1")
        self._accept(False)
        end = self._loop.time() + LAST_WORDS
        while self._turn() and self._loop.time() < end:
            pass
        for connection in tuple(self.connections.values()):
            self._hang_up(connection)
        if self.connections:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), LAST_WORDS)
        self._loop.remove_reader(self._poll.fileno())
        self._poll.close()
        if self._failure:
            raise self._failure

    def _log_exception(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what asyncio would write to standard error, which may not be there."""
        error = context.get("exception")
        self.responder.log.fatal(f"{context['message']}: {error!r}")

    # Connections

    def _accept(self, wanted: bool) -> None:
        """Accept connections, or leave them in the kernel's queue."""
        if wanted == self._accepting or (wanted and self._ended.is_set()):
            return
        self._accepting = wanted
        for descriptor in self._listeners:
            if wanted:
                self._poll.register(descriptor, select.EPOLLIN)
            else:
                self._poll.unregister(descriptor)

    def _take(self, listener: socket.socket, now: float) -> None:
        """Accept the connections that wait at a socket."""
        while self._accepting:
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return  # that is all, or another worker has it
            except ConnectionAbortedError:
                continue
            except OSError as error:  # no descriptor is left: the newest has to wait
                self.responder.log.warning(f"cannot accept a connection: {error.strerror}")
                self._accept(False)
                self._loop.call_later(1, self._accept, True)
                return
            client.setblocking(False)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(client, self._poll, self.responder.garbage, now)
            self.connections[connection.descriptor] = connection
            self._accept(not self._is_full())

    @property
    def _wanted(self) -> int:
        """How many connections this process may have, of those of all workers."""
        settings = self.responder.settings
        return -(-settings.max_connections // settings.workers)

    def _is_full(self) -> bool:
        return len(self.connections) >= min(self._wanted, self._most)

    def _hang_up(self, connection: Connection) -> None:
        """Answer no further request, and close the connection when its replies are taken."""
        connection.ended = True
        if not connection.has_replies:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        """Close a connection; one that waits for the room it leaves is accepted."""
        if self.connections.pop(connection.descriptor, None) is None:
            return
        connection.close()
        if not self._ended.is_set():
            self._accept(not self._is_full())
        elif not self.connections:
            self._empty.set()

    def _sweep(self) -> None:
        """Hang up on whoever does not end what he began; without room, on those idle for long."""
        self._loop.call_later(SWEEP_EVERY, self._sweep)
        self._turn()  # whatever has come by now is in time
        now = self._loop.time()
        late = 0
        for connection in tuple(self.connections.values()):
            silence = now - connection.since
            if connection.is_idle:
                if silence > IDLE_TIME and not self._accepting:
                    self._close(connection)
            elif silence > REQUEST_TIME:
                self._close(connection)
                late += 1
        if late:
            self.responder.log.warning(
                f"hung up on {late} connections, on which for {REQUEST_TIME:g} s no request was "
                "completed or no reply taken"
            )

    # Requests

    def _turn(self) -> bool:
        """Answer all that has arrived; return whether there was anything."""
        now = self._loop.time()
        batch: Batch = []
        events = self._poll.poll(0, self._most + len(self._listeners))
        for descriptor, _ in events:
            connection = self.connections.get(descriptor)
            if connection is None:
                self._take(self._listeners[descriptor], now)
                continue
            try:
                if connection.has_replies:
                    if connection.send_rest() and connection.ended:
                        self._close(connection)
                else:
                    batch += [(connection, one) for one in connection.read(now)]
            except OSError:
                self._close(connection)
        for start in range(0, len(batch), BATCH):
            try:
                self._answer(batch[start : start + BATCH])
            except Exception as error:  # noqa: BLE001 - none of them may wait for ever
                known = isinstance(error, StoreError)
                self.responder.log.fatal(str(error) if known else place_of(error))
                if isinstance(error, StoreSpent):
                    self._failure = error
                    self._ended.set()
                # All of them: each batch could wait for the lock as long as this one.
                for connection, _ in batch[start:]:
                    self._hang_up(connection)
                break
        return bool(events)

    def _answer(self, batch: Batch) -> None:
        """Answer a batch in one transaction; in trouble hang up, as Postfix asks for.

        Raises:
            StoreError: nobody was answered.
        """
        # Of who broke the protocol in an earlier batch, nothing more is asked.
        batch = [pair for pair in batch if not pair[0].ended]
        asked = [one for _, one in batch if isinstance(one, dict)]
        answers = iter(self._decide(asked) if asked else ())
        replies: dict[Connection, bytes] = {}
        for connection, one in batch:
            answer = next(answers) if isinstance(one, dict) else one
            if connection.ended:
                continue
            if answer is None or isinstance(answer, RequestError):
                connection.ended = True
                replies.setdefault(connection, b"")
                if answer:
                    self.responder.log.fatal(str(answer))
            else:
                replies[connection] = replies.get(connection, b"") + reply(answer.action)
        for connection, data in replies.items():
            self._reply(connection, data)

    def _reply(self, connection: Connection, data: bytes) -> None:
        """Send replies; hang up if nothing more is to be answered."""
        try:
            if data:
                connection.send(data)
        except OSError:
            self._close(connection)
        else:
            if connection.ended:
                self._hang_up(connection)

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

    Raises:
        StoreSpent: another process has to serve from now on.
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
    """Return uvloop's, where it is installed."""
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop
    return factory
