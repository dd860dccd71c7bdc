"""Kill the server of a shared database at random moments, under filters that go on asking.

No request waits for more than a second, none gets a wrong answer, and what was answered as stored
is there after the last restart: the server syncs each command to the disk.

python -m tests.shared.kills [--kills 200] [--filters 8]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # as pytest has it

from valkey_server import ValkeyServer

from tests.shared.house import DEFERRED, DUNNO, SharedHouse, request

PASSED = "passed@example.com"


def key(sender: str) -> bytes:
    return b"192.0.2.1/%s/recipient@example.org" % sender.encode()


class Asker(threading.Thread):
    """Asks one filter for a new triplet, for one of its own again, and for one that has passed.

    Attributes:
        replies: how often which reply came to which kind of question.
        stored: the senders whose first attempt was answered as stored.
        waits: the seconds of each request.
    """

    def __init__(self, house: SharedHouse, number: int, ended: threading.Event) -> None:
        super().__init__()
        self._filter = house.filter()
        self._number = number
        self._ended = ended
        self.replies: Counter[tuple[str, bytes]] = Counter()
        self.stored: list[str] = []
        self.waits: list[float] = []

    def run(self) -> None:
        count = 0
        while not self._ended.is_set():
            count += 1
            sender = f"s{self._number}.{count}@example.com"
            if self._ask("new", sender) == DEFERRED:
                self.stored.append(sender)
            if self.stored:
                self._ask("again", random.choice(self.stored))
            self._ask("passed", PASSED)

    def _ask(self, kind: str, sender: str) -> bytes:
        began = time.monotonic()
        reply = self._filter.ask(request(sender=sender))
        self.waits.append(time.monotonic() - began)
        self.replies[kind, reply] += 1
        return reply


def run(kills: int, filters: int) -> dict[str, object]:
    """Return what was counted; ``wrong`` and ``lost`` have to be 0."""
    with ValkeyServer("--appendonly", "yes", "--appendfsync", "always") as server:
        house = SharedHouse(server.tcp, ipv4_prefix=32, auto_whitelist=0, normalize_sender="no")
        now = int(time.time())
        server.ask("SET", b"greylist:" + key(PASSED), b"%d/%d/1" % (now - 7200, now - 3600))
        ended = threading.Event()
        askers = [Asker(house, number, ended) for number in range(filters)]
        for asker in askers:
            asker.start()
        for _ in range(kills):
            time.sleep(random.uniform(0.02, 0.15))
            server.kill()
            time.sleep(random.uniform(0, 0.05))
            server.start()
            if house.outage.exists():
                house.rest()  # nobody has to wait for the next kill
        time.sleep(0.3)
        ended.set()
        for asker in askers:
            asker.join()
        there = set(server.stored())
        text = house.close()
    replies: Counter[tuple[str, bytes]] = Counter()
    for asker in askers:
        replies += asker.replies
    right = {("new", DEFERRED), ("again", DEFERRED), ("passed", DUNNO)}
    away = {("new", DUNNO), ("again", DUNNO)}
    stored = [sender for asker in askers for sender in asker.stored]
    return {
        "kills": kills,
        "requests": replies.total(),
        "right": sum(replies[kind] for kind in right),
        "away": sum(replies[kind] for kind in away),
        "wrong": sum(number for kind, number in replies.items() if kind not in right | away),
        "stored": len(stored),
        "lost": sum(b"greylist:" + key(sender) not in there for sender in stored),
        "worst": round(max(wait for asker in askers for wait in asker.waits), 3),
        "warnings": text.count("warning"),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--filters", type=int, default=8)
    options = parser.parse_args()
    found = run(options.kills, options.filters)
    print(found)
    os._exit(bool(found["wrong"] or found["lost"]))
