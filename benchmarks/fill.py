"""Make a database of many triplets, as the filter would have made it.

    python -m benchmarks.fill COUNT

The settings come from where the filter takes them, GREYLIST_CONFIG. What is stored is told on
standard output: the number of entries, and the bytes of their keys and values.
"""

from __future__ import annotations

import sys
import time
from itertools import chain

from bsddb3 import db

from benchmarks import traffic
from greylist import policy, settings
from greylist.expiry import Rules
from greylist.log import Log
from greylist.protocol import read_requests
from greylist.store.berkeley.environment import open_environment
from greylist.store.berkeley.locks import KernelLock
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.store import BerkeleyStore, load_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Entries, Store

BATCH = 2000
"""Triplets to a transaction."""

CHUNK = 100_000
"""Triplets that are stored in the order of their keys, so that pages are at hand: ten times as
fast as one here, one there, and the file is as full of holes in the end."""

HOUR, DAY = 3600, 86400
"""Seconds since the first attempt: of most triplets, and, times forty, of each tenth, so that
there is something to purge."""


def parse(numbers: list[int]) -> list[Request]:
    """Return the requests of these numbers as the filter sees them."""
    texts: Iterator[bytes] = (traffic.request(number) for number in numbers)
    return list(read_requests(lambda: next(texts, b""), lambda _: None))


def fill(store: Store, configuration: Settings, count: int) -> None:
    """Let each of this many triplets make its first attempt."""
    now = int(time.time())
    order: list[int] = []
    for first in range(0, count, CHUNK):
        order += sorted(range(first, min(first + CHUNK, count)), key=traffic.mixed)
    for first in range(0, count, BATCH):
        numbers = order[first : first + BATCH]
        requests = list(zip(numbers, parse(numbers), strict=True))

        def decide(entries: Entries, requests: list[tuple[int, Request]] = requests) -> None:
            for number, request in requests:
                age = HOUR if number % 10 else 40 * DAY
                policy.decide(request, entries, configuration, now - age)

        hints = chain.from_iterable(policy.hint(request, configuration) for _, request in requests)
        store.transact(decide, hints)


def measure(store: Store) -> tuple[int, int]:
    """Return the number of entries, and the bytes of their keys and values."""
    number, length, cursor = 0, 0, b""
    while True:
        cursor, found = store.scan(cursor, BATCH)
        number += len(found)
        length += sum(len(name) + len(value) for name, value in found)
        if not cursor:
            return number, length


def main(count: int) -> None:
    """Make the database that the settings name."""
    configuration = settings.load()
    path = configuration.database
    log = Log()
    check(path, load_all)
    rules = Rules(configuration)
    store = BerkeleyStore(path, KernelLock(lock_path(path), 60), log, rules)
    fill(store, configuration, count)
    print(*measure(store))
    store.close()
    # The file on the disk now holds them all, so that its size tells something.
    environment = open_environment(path, configuration.durable)
    environment.txn_checkpoint(0, 0, db.DB_FORCE)
    environment.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
