"""A server's figures about itself: for ``greylist check``, and for sizes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from greylist.store.valkey.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from greylist.store.valkey.server import SingleServer
    from greylist.store.valkey.store import Server

TRIPS = 10
"""Round trips of which the fastest counts."""


class Figures(NamedTuple):
    """One server.

    Attributes:
        info: the fields of INFO; empty if our user may not ask for them.
        config: some settings of CONFIG GET; empty if our user may not ask for them.
        trip: seconds that a round trip takes.
        clock: seconds by which its clock is ahead of ours.
    """

    info: dict[str, str]
    config: dict[str, str]
    trip: float
    clock: float

    def number(self, name: str) -> int:
        """Return a field that is a number, 0 if it is not there."""
        text = self.info.get(name, "")
        return int(text) if text.isdigit() else 0

    @property
    def software(self) -> str:
        """The server's name and version."""
        if "valkey_version" in self.info:
            return f"Valkey {self.info['valkey_version']}"
        return f"Redis {self.info.get('redis_version', '?')}"

    @property
    def memory(self) -> int:
        """Bytes of memory in use."""
        return self.number("used_memory")

    @property
    def file(self) -> int:
        """Bytes of the append-only file."""
        return self.number("aof_current_size")

    @property
    def keys(self) -> int:
        """Keys in all of its databases, other programs' included."""
        places = [text for name, text in self.info.items() if name.startswith("db")]
        counts = [text.partition("keys=")[2].partition(",")[0] for text in places]
        return sum(int(count) for count in counts if count.isdigit())


def figures(server: Server, deadline: float) -> list[Figures]:
    """Return what each server tells.

    Raises:
        Unavailable: one does not answer.
    """
    return [_ask(one, deadline) for one in server.servers(deadline)]


def _ask(server: SingleServer, deadline: float) -> Figures:
    def allowed(*command: bytes) -> Any:
        try:
            return server.ask(deadline, *command)
        except Refused as error:
            if error.code != "NOPERM":
                raise
            return None

    lines = (allowed(b"INFO") or b"").decode("utf-8", "replace").splitlines()
    info = dict(line.split(":", 1) for line in lines if ":" in line)
    names = (b"save", b"appendfsync", b"maxmemory", b"maxmemory-policy")
    config: dict[str, str] = {}
    for name in names:
        pair = allowed(b"CONFIG", b"GET", name)
        if pair:
            config[pair[0].decode()] = pair[1].decode()
    return Figures(info, config, *_timed(allowed))


def _timed(allowed: Callable[..., Any]) -> tuple[float, float]:
    """Return the seconds of a round trip, and those that the server's clock is ahead."""
    best, ahead = 0.0, 0.0
    for _ in range(TRIPS):
        began = time.perf_counter()
        found = allowed(b"TIME")
        trip = time.perf_counter() - began
        if found and (not best or trip < best):
            seconds, micros = map(int, found)
            best, ahead = trip, seconds + micros / 1e6 - (time.time() - trip / 2)
    return best, ahead
