"""Deliveries as a policy would have had them: attempts grouped, and played anew."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from greylist.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.answer import Responder
    from greylist.commands.logs.maillog import Attempt

LIFETIME = 5 * 86400
"""Seconds after which a sender gives up (Postfix, ``maximal_queue_lifetime``)."""


class Delivery:
    """The attempts for one message, as far as sender and recipient tell it from others.

    Attributes:
        attempts: in the order of their times; only the last one can have been accepted.
    """

    __slots__ = ("attempts",)

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []

    @property
    def accepted(self) -> bool:
        """Whether the log has it accepted in the end."""
        return self.attempts[-1].accepted

    @property
    def client(self) -> bytes:
        """The client of the first attempt, by name where it has one."""
        request = self.attempts[0].request
        name = request[b"client_name"]
        return name if name != b"unknown" else request[b"client_address"]


def deliveries(attempts: Iterable[Attempt]) -> list[Delivery]:
    """Return the deliveries that attempts belong to, those deferred with those that followed.

    Args:
        attempts: in the order of their times.
    """
    found: list[Delivery] = []
    current: dict[tuple[bytes, bytes], Delivery] = {}
    for attempt in attempts:
        who = attempt.request[b"sender"].lower(), attempt.request[b"recipient"].lower()
        delivery = current.get(who)
        if delivery is None or attempt.time - delivery.attempts[-1].time > LIFETIME:
            delivery = current[who] = Delivery()
            found.append(delivery)
        delivery.attempts.append(attempt)
        if attempt.accepted:
            del current[who]
    return found


class Outcome:
    """Deliveries as a policy answers them.

    Attributes:
        at_once: how many pass at the first attempt.
        delays: of those that pass at a later attempt, the seconds between the two, in order.
        unknown: how many are deferred at the attempt that was accepted then, so that the log
            does not have the attempt at which they would pass.
        never: how many never pass, and nothing came any more.
        open: the same, but the log ends too early to tell.
        clients: for each client, its deliveries, those delayed, and the worst delay.
    """

    def __init__(self) -> None:
        self.at_once = self.unknown = self.never = self.open = 0
        self.delays: list[int] = []
        self.clients: dict[bytes, list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, delivery: Delivery, passed: int | None, end: int) -> None:
        """Count a delivery that passes at this time, or not until the log's end."""
        first, last = delivery.attempts[0], delivery.attempts[-1]
        if passed is None and not delivery.accepted:
            if end - last.time > LIFETIME:
                self.never += 1
            else:
                self.open += 1
            return
        client = self.clients[delivery.client]
        client[0] += 1
        if passed == first.time:
            self.at_once += 1
            return
        client[1] += 1
        if passed is None:
            self.unknown += 1
            return
        self.delays.append(passed - first.time)
        client[2] = max(client[2], passed - first.time)

    def sufferers(self, count: int) -> list[tuple[bytes, list[int]]]:
        """Return the clients with the most deliveries delayed, then with the worst delay."""
        delayed = [(name, row) for name, row in self.clients.items() if row[1]]
        return sorted(delayed, key=lambda item: (-item[1][1], -item[1][2], item[0]))[:count]


def play(
    found: list[Delivery],
    responder: Responder,
) -> Outcome:
    """Run deliveries through the policy, at their own clock, in a database of their own.

    Once a delivery passes, the attempts that it has left in the log would not have been made.
    """
    attempts = [
        (number, attempt) for number, delivery in enumerate(found) for attempt in delivery.attempts
    ]
    attempts.sort(key=lambda item: item[1].time)
    entries = MemoryStore()
    passed: dict[int, int] = {}
    for number, attempt in attempts:
        if number not in passed:
            decision = responder.screen(attempt.request)
            if decision is None:
                decision = responder.decide(attempt.request, entries, attempt.time)
            if decision.verdict == "pass":
                passed[number] = attempt.time
    outcome = Outcome()
    end = attempts[-1][1].time if attempts else 0
    for number, delivery in enumerate(found):
        outcome.add(delivery, passed.get(number), end)
    outcome.delays.sort()
    return outcome
