"""The month itself."""

from __future__ import annotations

import random

from benchmarks.month import legitimate
from benchmarks.month.bots import bots
from benchmarks.month.hosts import Addresses, Hosters
from benchmarks.month.message import DAY, DAYS, Message

SEED = 12


def month(seed: int = SEED) -> list[Message]:
    """Return all messages of the month that this seed makes, in the order of their times."""
    chance = random.Random(seed)
    addresses = Addresses(chance)
    hosters = Hosters(addresses, chance)
    world = legitimate.World(chance, addresses, hosters)
    found: list[Message] = []
    for kind in (
        legitimate.letters_between_people,
        legitimate.lists,
        legitimate.codes,
        legitimate.replies,
    ):
        found += kind(world)
    found += bots(chance, addresses, hosters)
    # An answer may come after the month's end; it is another month's.
    found = [message for message in found if message.attempts[0].at < DAYS * DAY]
    found.sort(key=lambda message: message.attempts[0].at)
    return found
