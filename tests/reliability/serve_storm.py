"""Kill a server under load at random moments; nothing that it answered may be missing afterwards.

python -m tests.reliability.serve_storm [--kills 500] [--clients 8] [--durable]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability.harness import House, key, request

if TYPE_CHECKING:
    from collections.abc import Iterator

AHEAD = 4
"""Requests that a client sends before it reads their replies."""

LIFE = 0.15
"""Seconds that a server lives on average, once it has answered."""


class ServedHouse:
    """A house, and the server in it that comes and goes."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.path = str(house.directory / "socket")
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        """Start a server."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "greylist", "serve", "--listen", f"unix:{self.path}"],
            env={**os.environ, "GREYLIST_CONFIG": str(self.house.config)},
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        """Kill the server."""
        assert self.process
        assert self.process.poll() is None, "the server gave up"
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def connect(self, stop: threading.Event) -> socket.socket | None:
        """Return a connection to the server, or none when it is time to stop."""
        while not stop.is_set():
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(90)
            try:
                connection.connect(self.path)
            except OSError:
                connection.close()
                time.sleep(0.01)
            else:
                return connection
        return None


def answers(connection: socket.socket) -> Iterator[bytes]:
    """Yield replies as they come, until the connection breaks."""
    data = b""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while piece := connection.recv(65536):
            data += piece
            *whole, data = data.split(b"\n\n")
            yield from whole


def storm(house: House, kills: int, clients: int, seed: int = 1) -> dict[str, int]:
    """Kill servers; return the counts.

    Raises:
        AssertionError: an answered request left no trace, or the file is damaged.
    """
    chance = random.Random(seed)
    stop, alive = threading.Event(), threading.Event()
    server = ServedHouse(house)
    answered: dict[int, list[int]] = {number: [] for number in range(clients)}

    def client(number: int) -> None:
        sequence = number * 1_000_000
        while connection := server.connect(stop):
            with connection:
                sequence = _talk(connection, sequence, answered[number], alive, stop)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    server.start()
    for thread in threads:
        thread.start()
    try:
        for _ in range(kills):
            alive.clear()
            assert alive.wait(90), "no answer"
            time.sleep(chance.expovariate(1 / LIFE))
            server.kill()
            house.recoveries()
            server.start()
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        server.process.terminate()
        server.process.wait()
    house.wait_for_repair()
    assert not house.copies(), "a sound database was set aside"
    entries = house.entries()
    house.verify()
    for numbers in answered.values():
        missing = [one for one in numbers if key(one) not in entries]
        assert not missing, f"{len(missing)} answered requests are missing: {missing[:5]}"
    total = sum(map(len, answered.values()))
    return {"kills": kills, "answered": total, "recoveries": house.recoveries() - 1, "lost": 0}


def _talk(
    connection: socket.socket,
    sequence: int,
    answered: list[int],
    alive: threading.Event,
    stop: threading.Event,
) -> int:
    """Ask some requests at a time until the connection breaks; return the last one's number."""
    replies = answers(connection)
    while not stop.is_set():
        asked = range(sequence + 1, sequence + 1 + AHEAD)
        sequence = asked[-1]
        try:
            connection.sendall(b"".join(map(request, asked)))
        except (BrokenPipeError, ConnectionResetError):
            break
        for number in asked:
            reply = next(replies, b"")
            if not reply:
                return sequence
            assert reply.startswith(b"action=defer_if_permit"), reply
            answered.append(number)
            alive.set()
    return sequence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        house = House(Path(directory))
        house.configure(durable="yes" if options.durable else "no")
        print(storm(house, options.kills, options.clients, options.seed))


if __name__ == "__main__":
    sys.exit(main())
