"""Large senders' published retry schedules and pools: ``tests/timelines/senders.toml``."""

from __future__ import annotations

import ipaddress
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random
    from typing import Any

_FILE = Path(__file__).parents[2] / "tests" / "timelines" / "senders.toml"

FEW = 7
"""Addresses of a sender whose number is not known: the most that the measurement saw."""


class Sender:
    """One of the senders.

    Attributes:
        name: who it is.
        source: where the figures are from.
        times: the seconds of all attempts, the first at 0.
        number: how many addresses the attempts came from; 0 where nobody has said.
    """

    def __init__(self, entry: dict[str, Any]) -> None:
        """Args: entry: a table of the file."""
        self.name: str = entry["name"]
        self.source: str = entry["source"]
        self.number: int = entry["addresses"]
        self.times = [0, *map(_seconds, entry["retries"].split())]
        if "every" in entry:
            step, end = _seconds(entry["every"]), _seconds(entry["until"])
            self.times += range(self.times[-1] + step, end + 1, step)
        self._networks = [ipaddress.ip_network(text) for text in entry["networks"]]
        self._host: str = entry["host"]

    def draw(self, chance: Random) -> str:
        """Return an address of the sender's networks, all being equally likely."""
        weights = [each.num_addresses for each in self._networks]
        (network,) = chance.choices(self._networks, weights=weights)
        return str(network[chance.randrange(network.num_addresses)])

    def sources(self, chance: Random, unknown: int = FEW) -> list[str]:
        """Return the address of each attempt of one message.

        Args:
            chance: what decides.
            unknown: how many addresses there are where nobody has said; with more than attempts,
                each comes from another one.
        """
        few = [self.draw(chance) for _ in range(self.number or unknown)]
        if len(few) > len(self.times):
            return few[: len(self.times)]
        return [chance.choice(few) for _ in self.times]

    def host(self, address: str) -> str:
        """Return the name that an address has."""
        return self._host.format(n=address.replace(".", "-")[-6:])


def _seconds(text: str) -> int:
    minutes, _, rest = text.partition(":")
    return int(minutes) * 60 + int(rest)


SENDERS = {
    sender.name: sender
    for sender in map(Sender, tomllib.loads(_FILE.read_text(encoding="utf-8"))["sender"])
}
