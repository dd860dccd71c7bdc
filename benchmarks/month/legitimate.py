"""Mail that is wanted: whom it comes from, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.month.hosts import Addresses, Hosters, Pool, Route, Server, customer, letters
from benchmarks.month.message import DAY, DAYS, HOUR, MINUTE, Host, Message
from benchmarks.month.senders import SENDERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from random import Random

USERS = tuple(f"user{number}@example.org" for number in range(80))

MAILBOXES = {
    "Gmail": 30,
    "Microsoft 365": 25,
    "Outlook.com": 10,
    "Yahoo": 6,
    "GMX": 6,
    "Mimecast": 5,
    "mail.com": 3,
    "AOL": 3,
    "Yandex": 3,
    "Mail.ru": 3,
    "QQ": 3,
    "India.com": 1,
}
"""How the mailboxes are divided among the providers, roughly."""

BULK = {"Amazon SES": 5, "Mailgun": 3, "Microsoft 365": 1}
"""Through whom lists and services send that have no server of their own."""


class Correspondent(NamedTuple):
    """A sender, and by which way its mail comes.

    Attributes:
        kind: as in the tables.
        address: of the envelope; ``{tag}`` and ``{digits}`` change from message to message.
        route: its machines.
    """

    kind: str
    address: str
    route: Route

    def write(
        self, at: int, recipients: tuple[str, ...], chance: Random, kind: str = ""
    ) -> Message:
        """Return a message to these recipients."""
        tag, digits = f"{chance.randrange(16**6):06x}", f"{chance.randrange(1000):03}"
        attempts = self.route.attempts(at, chance)
        sender = self.address.format(tag=tag, digits=digits)
        return Message(kind or self.kind, False, sender, recipients, attempts)


def moment(chance: Random) -> int:
    """Return a time in the month: mostly in working hours, mostly on working days."""
    while True:
        at = chance.randrange(DAYS * DAY)
        # The month begins on a Wednesday, so that its days 3 and 4 are a week-end.
        if chance.random() < (0.2 if at // DAY % 7 in (3, 4) else 1.0) * (
            1.0 if 7 * HOUR <= at % DAY < 19 * HOUR else 0.2
        ):
            return at


def often(chance: Random, most: int = 30) -> int:
    """Return how many messages one writes to another in a month: one mostly, sometimes many."""
    return min(int(chance.paretovariate(1.1)), most)


class World:
    """All who write to us."""

    def __init__(self, chance: Random, addresses: Addresses, hosters: Hosters) -> None:
        self.chance = chance
        self.addresses = addresses
        self.hosters = hosters
        self._firms = 0

    def mailbox(self) -> Correspondent:
        """Return a new mailbox at a large provider, a third of them under a domain of their own."""
        (name,) = self.chance.choices(list(MAILBOXES), weights=list(MAILBOXES.values()))
        domain = f"{name.lower().replace(' ', '').replace('.', '')}.example"
        if self.chance.random() < 1 / 3:
            domain = self.firm()
        address = f"{letters(self.chance)}.{letters(self.chance)}@{domain}"
        return Correspondent("large provider", address, Pool(SENDERS[name]))

    def server(self) -> tuple[Server, str]:
        """Return a new small server, and the domain whose mail it sends.

        A tenth have no verified name. Of the others most are called by their own domain, some by
        their provider; a fifth are rented machines. A thirtieth give a HELO name that has no dot.
        """
        chance, domain = self.chance, self.firm()
        own = f"{chance.choice(('mail', 'mx', 'smtp', 'zeus', 'srv1', 'gate'))}.{domain}"
        helo = letters(chance) if chance.random() < 1 / 30 else own
        address = self.addresses.address()
        draw = chance.random()
        if draw < 0.10:
            host = Host(address, "unknown", helo)
        elif draw < 0.18:
            isp = f"isp{chance.randrange(12)}.example"
            host = Host(address, customer(address, isp, chance), helo)
        elif draw < 0.38:
            host = self.hosters.host(own, helo)
        else:
            host = Host(address, own, helo)
        return Server(host, chance.choice(("Postfix", "Postfix", "Postfix", "Exim"))), domain

    def colleagues(self, count: int) -> list[Correspondent]:
        """Return people with mailboxes on one new small server; one in 20 has signed addresses."""
        server, domain = self.server()
        signed = "prvs=0{digits}{tag}=" if self.chance.random() < 1 / 20 else ""  # BATV
        return [
            Correspondent("small server", f"{signed}{letters(self.chance)}@{domain}", server)
            for _ in range(count)
        ]

    def anybody(self) -> Correspondent:
        """Return somebody who has not written before."""
        return self.mailbox() if self.chance.random() < 0.6 else self.colleagues(1)[0]

    def bulk(self) -> tuple[Route, str]:
        """Return machines for a list or a service, and its domain."""
        if self.chance.random() < 0.4:
            return self.server()
        (name,) = self.chance.choices(list(BULK), weights=list(BULK.values()))
        return Pool(SENDERS[name]), self.firm()

    def firm(self) -> str:
        """Return a new domain."""
        self._firms += 1
        return f"firm{self._firms}.example"


def letters_between_people(world: World) -> Iterator[Message]:
    """Yield what people write: from large providers, from small servers, to several at once."""
    chance = world.chance
    people = [world.mailbox() for _ in range(450)]
    for _ in range(100):
        people += world.colleagues(chance.choice((1, 1, 2, 2, 3, 4)))
    for one in people:
        for user in chance.sample(USERS, chance.choice((1, 1, 1, 2, 3))):
            for _ in range(often(chance)):
                yield one.write(moment(chance), (user,), chance)
    for kind, messages, least, most in (
        ("several recipients", 130, 2, 6),
        ("30 recipients", 12, 30, 30),
    ):
        for _ in range(messages):
            one = chance.choice(people) if chance.random() < 0.7 else world.anybody()
            some = tuple(chance.sample(USERS, chance.randint(least, most)))
            yield one.write(moment(chance), some, chance, kind)


VERP = (
    "bounces+{number}-{code}-{user}={host}@em.{domain}",  # SendGrid
    "0100018c{tag}0f-{tag}aa-{code}-{code}-{code}-{tag}{tag}-000000@mail.{domain}",  # Amazon SES
    "bounce+{tag}.a1{number}-{user}={host}@mg.{domain}",  # Mailgun
    "msprvs1=17{digits}g-{tag}=bounces-{number}@{domain}",  # SparkPost
    "bounces-{digits}{digits}-{digits}{digits}@news.{domain}",
    "list-return-{digits}-{user}={host}@{domain}",  # ezmlm
    "list+bncBC{tag}{tag}@groups.{domain}",  # Google Groups
    "list-bounces+{user}={host}@{domain}",  # Mailman
    "SRS0={tag}=XY={domain}={code}@forward.{domain}",
    "news@{domain}",
    "{tag}-{digits}-x@news.{domain}",  # a scheme that nobody has heard of
)
"""Envelope senders of lists. ``{tag}`` and ``{digits}`` change from message to message; ``{code}``
and ``{user}={host}`` are the subscriber's."""


def _envelope(form: str, domain: str, number: int, code: str, user: str) -> str:
    """Return the sender that a list has for a subscriber, with what changes left open."""
    local, _, host = user.partition("@")
    return form.format(
        tag="{tag}",
        digits="{digits}",
        domain=domain,
        number=number,
        code=code,
        user=local,
        host=host,
    )


def lists(world: World) -> Iterator[Message]:
    """Yield list mail: to each subscriber a message of its own, from a sender that changes."""
    chance = world.chance
    for _ in range(26):
        (route, domain), form = world.bulk(), chance.choice(VERP)
        number = chance.randint(1000, 9999)
        subscribers = {user: f"{chance.randrange(16**4):04x}" for user in chance.sample(USERS, 8)}
        for _ in range(chance.choice((1, 4, 4, 8, 8, 12))):
            at = moment(chance)
            for user, code in subscribers.items():
                sender = _envelope(form, domain, number, code, user)
                one = Correspondent("list mail", sender, route)
                yield one.write(at + chance.randrange(10 * MINUTE), (user,), chance)


def codes(world: World) -> Iterator[Message]:
    """Yield one-time codes, from services of which half change the sender each time."""
    chance = world.chance
    for _ in range(60):
        (route, domain), form = world.bulk(), chance.choice(VERP)
        changing = _envelope(form, domain, 1, "c0de", f"code@{domain}")
        sender = chance.choice((f"noreply@{domain}", changing))
        one = Correspondent("one-time code", sender, route)
        for _ in range(often(chance, 15)):
            yield one.write(moment(chance), (chance.choice(USERS),), chance)


def replies(world: World) -> Iterator[Message]:
    """Yield answers to our users' mail, from people who have not written before."""
    chance = world.chance
    for _ in range(240):
        one, user, asked = world.anybody(), chance.choice(USERS), moment(chance)
        at = asked + int(chance.lognormvariate(9.5, 1.3))  # half of them within four hours
        for _ in range(min(often(chance), 4)):
            yield one.write(at, (user,), chance, "reply")._replace(asked=asked)
            at += chance.randint(1, 72) * HOUR
