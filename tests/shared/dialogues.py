"""Random dialogues, decided on a shared database and on Berkeley DB: all the same.

The clock is the dialogue's own. What the server would have deleted by that clock is deleted before
each request, so an entry that is kept too short shows as well.

python -m tests.shared.dialogues [--requests 100000]
"""

from __future__ import annotations

import argparse
import functools
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest has it

from berkeley import open_store
from valkey_server import ValkeyServer

from greylist import policy
from greylist.log import Log
from greylist.settings import Settings
from greylist.store.opening import opener

CONFIGURATIONS = (
    {},
    {"auto_whitelist": "2", "pool": "domain", "header": "yes"},
    {"delay": "60s", "retry_window": "1h", "max_age": "2d", "pool": "off", "auto_whitelist": "0"},
    {"mode": "learn", "retry_window": "6h", "max_age": "1d", "auto_whitelist": "1"},
)

STEPS = (0, 1, 30, 100, 299, 300, 301, 1000, 3600, 4000, 86400, 200_000)
"""Seconds between two requests; now and then more than anything is kept for."""


class Expiring:
    """The entries of a transaction; what is stored is noted with the time when it expires."""

    def __init__(self, entries, due, now):
        self._entries = entries
        self._due = due
        self._now = now
        self.get = entries.get

    def put(self, key, value, keep):
        self._entries.put(key, value, keep)
        self._due[key] = self._now + keep

    def delete(self, key):
        self._entries.delete(key)
        self._due.pop(key, None)


def requests(chance: random.Random):
    """Yield requests of few correspondents, so that they meet again, each with its time."""
    now = 1_700_000_000
    while True:
        network = chance.randrange(3)
        name = chance.choice([f"mx{chance.randrange(9)}.host{network}.example.com", "unknown"])
        yield (
            now,
            {
                b"request": b"smtpd_access_policy",
                b"protocol_state": b"RCPT",
                b"client_address": f"192.0.{network}.{chance.randrange(200)}".encode(),
                b"client_name": name.encode(),
                b"reverse_client_name": name.encode(),
                b"helo_name": name.encode(),
                b"sender": chance.choice([b"", b"a@example.com", b"bounce-1234@example.net"]),
                b"recipient": chance.choice(
                    [b"R@example.org", b"r+x@example.org", b"s@example.org"]
                ),
                b"instance": b"%x.%x" % (chance.randrange(50), now),
            },
        )
        now += chance.choices(STEPS, [6, 3, 3, 3, 3, 3, 3, 3, 3, 2, 1, 0.1])[0]


def run(count: int, seed: int) -> int:
    """Return how many requests were decided, all alike."""
    chance = random.Random(seed)
    with ValkeyServer() as server, tempfile.TemporaryDirectory() as directory:
        for number, configuration in enumerate(CONFIGURATIONS):
            settings = Settings()
            for name, value in configuration.items():
                settings.set(name, value)
            settings.set("database", server.url + f"?db={number % 4}")
            stores = (
                opener(settings.database)(settings, Log(), None, None),
                open_store(f"{directory}/{number}.db"),
            )
            compare(stores, settings, chance, count // len(CONFIGURATIONS))
            for store in stores:
                store.close()
    return count


def compare(stores, settings: Settings, chance: random.Random, count: int) -> None:
    """Decide requests by both stores; fail at the first that is decided otherwise."""
    shared, berkeley = stores
    due: dict[bytes, int] = {}
    for _, (now, request) in zip(range(count), requests(chance), strict=False):
        stale = [key for key, time in due.items() if time < now]
        if stale:
            shared.transact(lambda entries, stale=stale: [entries.delete(key) for key in stale])
            for key in stale:
                del due[key]
        decide = functools.partial(_decide, request, settings, now)
        decisions = [shared.transact(decide(due)), berkeley.transact(decide({}))]
        ours, theirs = ((d.action, d.verdict, d.reason, d.stored) for d in decisions)
        assert ours == theirs, (ours, theirs, request, now)


def _decide(request, settings: Settings, now: int, due: dict[bytes, int]):
    def decide(entries):
        return policy.decide(request, Expiring(entries, due, now), settings, now)

    return decide


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(run(options.requests, options.seed), "decisions, all alike")
