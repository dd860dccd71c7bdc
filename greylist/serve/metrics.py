"""The server's counters for Prometheus, with the figures of ``greylist metrics`` behind them."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from greylist.commands.entry import entries
from greylist.commands.metrics import render
from greylist.commands.report.statistics import Figures
from greylist.commands.session import kept
from greylist.decision import Decision
from greylist.serve.listen import endpoint
from greylist.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from greylist.protocol import RequestError
    from greylist.serve.server import Server

DELAYS = (300, 600, 1200, 1800, 3600, 7200, 14400, 43200)
"""Upper bounds of the delays at the pass, in seconds."""

DURATIONS = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)
"""Upper bounds of the time that a transaction takes, in seconds."""

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
"""Upper bounds of the requests in a transaction."""

FIGURES_EVERY = 300.0
"""Seconds between two counts of the database's entries."""

HEAD_LIMIT = 8192
"""Bytes of a request's head."""

PATIENCE = 10.0
"""Seconds in which a request has to arrive, and its answer to be taken."""

SCRAPES = 16
"""Requests at once at most; there is one Prometheus, or a few."""

COUNT_WAIT = 2.0
"""Seconds for which the first request waits until the entries are counted."""

SCAN = 256
"""Entries that are counted between two turns of the loop: about 3 ms."""


class Metrics:
    """The counters of one process, and the numbers of the database's entries."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._registry = registry = CollectorRegistry()

        def counter(name: str, help: str, *labels: str) -> Counter:
            return Counter(f"greylist_{name}", help, labels, registry=registry)

        def histogram(name: str, help: str, bounds: tuple[float, ...]) -> Histogram:
            return Histogram(f"greylist_{name}", help, buckets=bounds, registry=registry)

        self._decisions = counter("decisions", "Decisions.", "verdict", "reason")
        self._errors = counter("store_errors", "Requests that the database failed.")
        self._broken = counter("broken_requests", "Requests that were none.")
        self._delays = histogram(
            "passed_after_seconds",
            "Seconds between the first attempt and the one that passed.",
            DELAYS,
        )
        self._durations = histogram(
            "transaction_seconds", "Seconds that a batch of requests took.", DURATIONS
        )
        self._batches = histogram("transaction_requests", "Requests in a batch.", BATCHES)
        connections = Gauge("greylist_connections", "Open connections.", registry=registry)
        connections.set_function(lambda: len(server.connections))
        self._figures = ""
        self._counted = -FIGURES_EVERY
        self._counting: asyncio.Task[None] | None = None
        self._open = 0

    def observe(
        self, decided: Sequence[Decision | RequestError | StoreError], seconds: float
    ) -> None:
        """Count a batch."""
        self._durations.observe(seconds)
        self._batches.observe(len(decided))
        for one in decided:
            if isinstance(one, Decision):
                reason = one.reason.partition(" (")[0].partition(",")[0]
                self._decisions.labels(one.verdict, reason).inc()
                if ", delay=" in one.reason:
                    self._delays.observe(one.age)
            elif isinstance(one, StoreError):
                self._errors.inc()
            else:
                self._broken.inc()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one HTTP request (RFC 9112); every path is that of the metrics."""
        self._open += 1
        try:
            if self._open <= SCRAPES:
                async with asyncio.timeout(PATIENCE):
                    await self._answer(reader, writer)
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, OSError):
            pass  # it was no request, or its client has gone
        finally:
            self._open -= 1
            # What the client has not taken by now is not kept for it.
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        allowed = head.startswith((b"GET ", b"HEAD "))
        body = await self._text() if allowed else b""
        status = b"200 OK" if allowed else b"405 Method Not Allowed"
        kind = CONTENT_TYPE_LATEST.encode()
        writer.write(
            b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n" % (status, kind, len(body))
            + b"Connection: close\r\n\r\n"
        )
        if not head.startswith(b"HEAD "):
            writer.write(body)
        await writer.drain()

    async def _text(self) -> bytes:
        if not self._counting and time.monotonic() - self._counted >= FIGURES_EVERY:
            self._counting = asyncio.create_task(self._count())
        if self._counting and not self._figures:
            await asyncio.wait([self._counting], timeout=COUNT_WAIT)
        counters: bytes = generate_latest(self._registry)
        return counters + self._figures.encode()

    async def _count(self) -> None:
        """Count the database's entries; requests are answered between two batches of them."""
        responder = self._server.responder
        try:
            settings, now = responder.settings, int(time.time())
            figures = Figures([], settings, now, kept(settings).sizes(), ranked=False)
            cursor = b""
            while True:
                store = responder.store or responder.open()
                cursor, batch = store.scan(cursor, SCAN)
                figures.count(entries(batch, settings, now))
                if not cursor:
                    break
                await asyncio.sleep(0)
            self._figures = render(figures)
        except (StoreError, OSError) as error:
            responder.log.warning(f"metrics: {error}")
        finally:
            self._counted = time.monotonic()
            self._counting = None


def bind(address: str, number: int) -> socket.socket:
    """Return a worker's socket: on an address of the form ADDRESS:PORT, its number added.

    Raises:
        OSError: it cannot be bound.
    """
    family, host, port = endpoint(address)
    return socket.create_server((host, port + number), family=family)


async def start(server: Server, listener: socket.socket) -> None:
    """Count what the server does, and show it on this socket."""
    metrics = Metrics(server)
    server.observe = metrics.observe
    server.shown = await asyncio.start_server(metrics.answer, sock=listener, limit=HEAD_LIMIT)
