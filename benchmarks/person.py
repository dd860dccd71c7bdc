"""What a person's command does to the database: ``fill``, ``walk`` or ``purge``, in short batches.

    python -m benchmarks.person fill COUNT
    python -m benchmarks.person walk|purge

The settings come from where the filter takes them, GREYLIST_CONFIG.
"""

from __future__ import annotations

import sys
import time

from bsddb3 import db

from benchmarks import traffic
from greylist import policy, settings
from greylist.log import Log
from greylist.store.berkeley import BerkeleyStore
from greylist.store.directory import check, lock_path
from greylist.store.environment import open_environment
from greylist.store.lock import KernelLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.settings import Settings
    from greylist.store import Entries, Store

BATCH = 500
"""Entries to a transaction: about 2 ms."""

AGE = 86400
"""Seconds since the first attempt of a triplet that ``fill`` makes."""


def fill(store: Store, configuration: Settings, count: int) -> None:
    """Make this many triplets as the filter would, each of them one attempt old."""
    then = int(time.time()) - AGE

    def decide(entries: Entries, numbers: Iterable[int]) -> None:
        for number in numbers:
            client, sender, recipient = traffic.triplet(number)
            request = {
                b"client_address": client.encode(),
                b"sender": sender.encode(),
                b"recipient": recipient.encode(),
            }
            policy.decide(request, entries, configuration, then)

    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        store.transact(lambda entries, numbers=numbers: decide(entries, numbers))


def walk(store: Store, delete: bool) -> None:
    """Walk through all entries again and again, deleting each tenth of them when asked to."""
    key = b""
    while True:

        def batch(entries: Entries, key: bytes = key) -> bytes:
            found = entries.after(key, BATCH)
            if delete:
                for name, _ in found[::10]:
                    entries.delete(name)
            return found[-1][0] if found else b""

        key = store.transact(batch)


def main(what: str, count: str = "0") -> None:
    """Open the store that the filter would open, and work on it."""
    configuration = settings.load()
    path = configuration.database
    check(path)
    store = BerkeleyStore(path, KernelLock(lock_path(path), 60), Log())
    if what == "fill":
        fill(store, configuration, int(count))
        store.close()
        # The file on the disk now holds them all, so that its size tells something.
        environment = open_environment(path, configuration.durable)
        environment.txn_checkpoint(0, 0, db.DB_FORCE)
        environment.close()
    else:
        walk(store, delete=what == "purge")


if __name__ == "__main__":
    main(*sys.argv[1:])
