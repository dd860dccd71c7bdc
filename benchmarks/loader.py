"""The load generator: any number of connections in one process, each waiting for its reply.

A connection sends a request, reads until the empty line, and goes on at once, which is what
an smtpd(8) under load does. Nothing is computed between two requests, so that its own cost
stays small beside that of what it measures; the echo row shows how small.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
from time import perf_counter

from benchmarks import traffic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60
"""Seconds without any reply after which a run has failed."""


OPEN: list[Wire] = []
"""The connections that have not been closed."""


class LoadError(Exception):
    """A contender hung up, or answered what is no reply."""


class Wire:
    """A connection to a contender: two descriptors, or one socket twice."""

    def __init__(self, reader: int, writer: int, child: subprocess.Popen[bytes] | None) -> None:
        self.reader = reader
        self.writer = writer
        self.child = child
        OPEN.append(self)

    @classmethod
    def spawned(cls, argv: list[str], environment: dict[str, str]) -> Wire:
        """Return pipes to a process of one's own."""
        child = subprocess.Popen(
            argv,
            env=environment,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert child.stdin
        assert child.stdout
        return cls(os.dup(child.stdout.fileno()), os.dup(child.stdin.fileno()), child)

    @classmethod
    def connected(cls, address: str | tuple[str, int]) -> Wire:
        """Return a connection to a unix socket's path, or to a TCP host and port."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        connection = socket.socket(family)
        connection.settimeout(PATIENCE)
        connection.connect(address)
        connection.settimeout(None)
        if family == socket.AF_INET:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        descriptor = connection.detach()
        return cls(descriptor, descriptor, None)

    def ask(self, request: bytes) -> bytes:
        """Return the reply to a request.

        Raises:
            LoadError: there was none.
        """
        os.write(self.writer, request)
        reply = os.read(self.reader, 4096)
        while not reply.endswith(b"\n\n"):
            more = os.read(self.reader, 4096)
            if not more:
                raise LoadError(f"hung up after {reply!r}")
            reply += more
        return reply

    def close(self) -> None:
        """Hang up, and see a process of one's own to its end."""
        OPEN.remove(self)
        for descriptor in {self.reader, self.writer}:
            os.close(descriptor)
        if self.child:
            for pipe in (self.child.stdin, self.child.stdout):
                assert pipe
                pipe.close()
            self.child.wait(PATIENCE)


class Load:
    """What a run measured.

    Attributes:
        seconds: how long it took.
        waits: of each request, in seconds, sorted.
        shares: requests answered, a number for each connection.
    """

    def __init__(self, seconds: float, waits: list[float], shares: list[int]) -> None:
        self.seconds = seconds
        self.waits = sorted(waits)
        self.shares = shares

    @classmethod
    def joined(cls, loads: list[Load]) -> Load:
        """Return several runs over the same connections as one."""
        shares = [sum(each) for each in zip(*(load.shares for load in loads), strict=True)]
        waits = [wait for load in loads for wait in load.waits]
        return cls(sum(load.seconds for load in loads), waits, shares)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.waits) / self.seconds

    def quantile(self, share: float) -> float:
        """Return the wait, in seconds, that this share of the requests did not exceed."""
        return self.waits[min(int(share * len(self.waits)), len(self.waits) - 1)]

    @property
    def fairness(self) -> float:
        """The slowest connection's share beside the fastest one's."""
        return min(self.shares) / max(self.shares)

    @property
    def least(self) -> float:
        """The slowest connection's share beside the mean."""
        return min(self.shares) * len(self.shares) / sum(self.shares)


def alone(wire: Wire, requests: list[bytes]) -> Load:
    """Send the requests over one connection, each in a message of its own."""
    requests = [traffic.renewed(request) for request in requests]
    waits = []
    reader, writer = wire.reader, wire.writer
    read, write = os.read, os.write
    begin = then = perf_counter()
    for request in requests:
        write(writer, request)
        reply = read(reader, 4096)
        now = perf_counter()
        waits.append(now - then)
        then = now
        if reply[-2:] != b"\n\n" or reply[:7] != b"action=":
            raise LoadError(f"no reply: {reply!r}")
    return Load(then - begin, waits, [len(requests)])


def together(wires: list[Wire], sources: list[Iterator[bytes]], seconds: float) -> Load:
    """Keep every connection busy for some time, each from its own source of requests."""
    waits: list[float] = []
    shares = [0] * len(wires)
    sent = [0.0] * len(wires)
    numbers = {wire.reader: number for number, wire in enumerate(wires)}
    poll = select.epoll()
    begin = now = perf_counter()
    end = begin + seconds
    for number, wire in enumerate(wires):
        poll.register(wire.reader, select.EPOLLIN)
        sent[number] = perf_counter()
        os.write(wire.writer, next(sources[number]))
    busy = len(wires)
    try:
        while busy:
            events = poll.poll(PATIENCE)
            if not events:
                raise LoadError(f"no reply for {PATIENCE} s")
            for reader, _ in events:
                number = numbers[reader]
                reply = os.read(reader, 4096)
                now = perf_counter()
                if reply[-2:] != b"\n\n" or reply[:7] != b"action=":
                    raise LoadError(f"no reply: {reply!r}")
                waits.append(now - sent[number])
                shares[number] += 1
                if now < end:
                    sent[number] = now
                    os.write(wires[number].writer, next(sources[number]))
                else:
                    busy -= 1
    finally:
        poll.close()
    return Load(now - begin, waits, shares)
