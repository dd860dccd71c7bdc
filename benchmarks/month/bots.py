"""Mail that is not wanted: how bots behave, and whom the server sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.month.hosts import customer, letters
from benchmarks.month.legitimate import USERS
from benchmarks.month.message import DAY, DAYS, HOUR, MINUTE, Attempt, Host, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from benchmarks.month.hosts import Addresses, Hosters

CLIENTS = 1000
NAMES = {"no name": 2, "customer's name": 1, "proper name": 1}
BEHAVIOURS = {
    "one attempt": 68,
    "again within seconds": 14,
    "from another address": 12,
    "after ten minutes": 6,
}
FORGED = ("gmail.example", "yahoo.example", "bank.example", "shop.example", "example.org")


def bots(chance: Random, addresses: Addresses, hosters: Hosters) -> Iterator[Message]:
    """Yield what bots send. Each bot has one behaviour, and few or many victims."""
    for _ in range(CLIENTS):
        (named,) = chance.choices(list(NAMES), weights=list(NAMES.values()))
        (behaviour,) = chance.choices(list(BEHAVIOURS), weights=list(BEHAVIOURS.values()))

        def host(named: str = named) -> Host:
            return _host(named, chance, addresses, hosters)

        machine, begin = host(), chance.randrange(DAYS * DAY)
        for _ in range(chance.choice((1, 1, 2, 3, 5))):
            at = begin + chance.randrange(HOUR)
            domain = chance.choice((*FORGED, f"{letters(chance)}.example"))
            yield Message(
                f"{behaviour}, {named}",
                True,
                f"{letters(chance)}@{domain}",
                tuple(chance.sample(USERS, chance.choice((1, 1, 1, 1, 1, 2, 4)))),
                tuple(_attempts(behaviour, at, machine, host, chance)),
            )


def _attempts(
    behaviour: str, at: int, machine: Host, another: Callable[[], Host], chance: Random
) -> Iterator[Attempt]:
    yield Attempt(at, machine)
    if behaviour == "again within seconds":
        for _ in range(chance.randint(1, 4)):
            at += chance.randint(1, 60)
            yield Attempt(at, machine)
    elif behaviour == "from another address":
        for _ in range(chance.randint(1, 3)):
            at += chance.randint(10, 60) * MINUTE
            yield Attempt(at, another())
    elif behaviour == "after ten minutes":
        yield Attempt(at + chance.randint(600, 960), machine)


def _host(named: str, chance: Random, addresses: Addresses, hosters: Hosters) -> Host:
    """Return the machine of a bot: a server that was broken into, a customer's, or neither.

    A fifth of those with a proper name are rented machines, neighbours of servers.
    """
    address = addresses.address()
    if named == "proper name":
        own = f"{chance.choice(('mail', 'www', 'ns', 'web', 'host'))}.{letters(chance)}.example"
        helo = _helo(own, 0.9, chance)
        return hosters.host(own, helo) if chance.random() < 0.2 else Host(address, own, helo)
    if named == "no name":
        name = "unknown"
    else:
        name = customer(address, f"isp{chance.randrange(12)}.example", chance)
    return Host(address, name, _helo(f"{letters(chance)}.example", 0.5, chance, address))


def _helo(usual: str, share: float, chance: Random, address: str = "192.0.2.1") -> str:
    """Return a HELO name: the usual one in this share, otherwise what shows a bot."""
    if chance.random() < share:
        return usual
    return chance.choice((letters(chance), "localhost", f"[{address}]", "example.org"))
