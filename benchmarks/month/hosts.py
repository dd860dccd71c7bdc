"""Where mail comes from: pools of large senders, small servers, customers, hosters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from benchmarks.month.message import Attempt, Host
from benchmarks.month.senders import SENDERS

if TYPE_CHECKING:
    from random import Random

    from benchmarks.month.senders import Sender


class Route(Protocol):
    """What a message is sent by."""

    def attempts(self, at: int, chance: Random) -> tuple[Attempt, ...]:
        """Return all attempts for a message that is sent at this time."""


class Pool:
    """The machines of a large sender."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender

    def attempts(self, at: int, chance: Random) -> tuple[Attempt, ...]:
        """Return all attempts for a message that is sent at this time."""
        late = _lateness(chance)
        found = []
        times = zip(self._sender.times, self._sender.sources(chance), strict=True)
        for after, address in times:
            name = self._sender.host(address)
            found.append(Attempt(at + after + bool(after) * late, Host(address, name, name)))
        return tuple(found)


class Server:
    """One machine that sends from one address."""

    def __init__(self, host: Host, schedule: str = "Postfix") -> None:
        """Args: host: the machine; schedule: whose in ``senders.toml``."""
        self.host = host
        self._times = SENDERS[schedule].times

    def attempts(self, at: int, chance: Random) -> tuple[Attempt, ...]:
        """Return all attempts for a message that is sent at this time."""
        late = _lateness(chance)
        return tuple(Attempt(at + after + bool(after) * late, self.host) for after in self._times)


def _lateness(chance: Random) -> int:
    """Return the seconds by which a sender's queue is behind its schedule."""
    return chance.randint(1, 20)


class Addresses:
    """Gives out addresses, each of a network of its own unless asked otherwise.

    The blocks are of the United States' Department of Defense, which sends no mail from them.
    Those that are set aside for documentation or benchmarks would not do: some contenders may
    take them for private ones.
    """

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._networks = [
            f"{first}.{second}.{third}"
            for first in (11, 21, 22, 26, 28, 29, 30, 33)
            for second in chance.sample(range(256), 30)
            for third in chance.sample(range(256), 30)
        ]
        chance.shuffle(self._networks)

    def network(self) -> str:
        """Return the first three octets of a network that nobody else has."""
        return self._networks.pop()

    def address(self, network: str = "") -> str:
        """Return an address of this network, or of one that nobody else has."""
        return f"{network or self.network()}.{self._chance.randint(2, 253)}"


CUSTOMERS = (
    "{a}-{b}-{c}-{d}.dyn.{isp}",
    "host{d}-{c}-{b}-{a}.range.{isp}",
    "{d}.{c}.{b}.{a}.static.{isp}",
    "p{hex}.dip0.{isp}",
    "cpe-{a}-{b}-{c}-{d}.socal.res.{isp}",
    "pool-{a}-{b}-{c}-{d}.bstn.east.{isp}",
    "adsl-{c}-{d}.bras.{isp}",
    "ip{a}{b}{c}{d}.{isp}",
    "static.{d}.{c}.{b}.{a}.clients.{isp}",
    "vps-{number:x}.vps.{isp}",
    "v{number}.{isp}",
    "c{number}.zone{digit}.{isp}",
    "{letters}.abo.{isp}",
    "{letters}.{isp}",
)
"""Forms of the names that providers give their customers. The last is like a server's."""


def customer(address: str, isp: str, chance: Random) -> str:
    """Return the name that a provider gives to the customer at this address."""
    a, b, c, d = address.split(".")
    return chance.choice(CUSTOMERS).format(
        a=a,
        b=b,
        c=c,
        d=d,
        isp=isp,
        hex=bytes(map(int, (a, b, c, d))).hex(),
        number=chance.randint(100_000, 9_999_999),
        digit=chance.randint(1, 9),
        letters=letters(chance),
    )


def letters(chance: Random) -> str:
    """Return a word."""
    return "".join(chance.choice("bcdfghklmnprst") + chance.choice("aeiou") for _ in range(4))


class Hosters:
    """Providers where many rent a machine: neighbours in a network, and below one domain."""

    def __init__(self, addresses: Addresses, chance: Random) -> None:
        self._addresses = addresses
        self._chance = chance
        self._all = [
            (f"hoster{number}.example", [addresses.network() for _ in range(20)])
            for number in range(6)
        ]

    def host(self, own: str, helo: str = "") -> Host:
        """Return a rented machine.

        Args:
            own: the name of its tenant's; one in four is called as the hoster has named it.
            helo: the HELO name, if not its name.
        """
        domain, networks = self._chance.choice(self._all)
        address = self._addresses.address(self._chance.choice(networks))
        draw = self._chance.random()
        if draw < 1 / 8:
            name = f"{letters(self._chance)}.{domain}"
        elif draw < 1 / 4:
            name = f"srv{self._chance.randint(10_000, 99_999)}.{domain}"
        else:
            name = own
        return Host(address, name, helo or name)
