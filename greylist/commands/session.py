"""The database as a command uses it: as its owner, and in short batches."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from greylist.expiry import Rules
from greylist.log import Log
from greylist.store.batches import MOST, PAUSE
from greylist.store.opening import maintenance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager
    from typing import TypeVar

    from greylist.settings import Settings
    from greylist.store import Entries, Maintenance, Store

    R = TypeVar("R")
    T = TypeVar("T")

BATCH_SECONDS = 0.002
"""What a batch aims to take: a request waits for one batch at most, and should not notice."""

CHANGES = 500
"""Changes in a batch at most: a server on another host does not tell how long they take it."""


def kept(settings: Settings) -> Maintenance:
    """Return the database's maintenance; recoveries are reported on standard error."""
    return maintenance(settings, to_person(), Rules(settings))


def opened(
    settings: Settings, create: bool = False, adopt: bool = False
) -> AbstractContextManager[Store]:
    """Open the database for a while; with ``create``, it need not exist.

    With ``adopt``, one that another program made is taken over.

    Raises:
        StoreError: it cannot be used, or does not exist.
    """
    return kept(settings).opened(create, adopt)


def to_person() -> Log:
    """Return a log on standard error."""
    log = Log()
    log.to_stderr(only=True)
    return log


class Pace:
    """How many entries go into the next batch, so that each takes about BATCH_SECONDS.

    The time is taken within the transaction: waiting for the lock is not the batch's fault.
    """

    def __init__(self) -> None:
        self.count = 64

    def timed(self, function: Callable[[Entries], T]) -> Callable[[Entries], T]:
        """Return the function of one batch of ``count``, which adapts the count to its time."""

        def run(entries: Entries) -> T:
            began = time.perf_counter()
            result = function(entries)
            fit = BATCH_SECONDS / max(time.perf_counter() - began, 1e-6)
            self.count = max(1, min(int(self.count * min(fit, 2.0)), MOST))
            return result

        return run


def apply(
    store: Store,
    items: Iterable[T],
    change: Callable[[Entries, T], R],
    key: Callable[[T], bytes],
) -> Iterator[list[R]]:
    """Apply a change to each item in short transactions; yield what it returned, by batch.

    Args:
        store: where.
        items: what is to be changed.
        change: changes one item; it may run more than once for it, and only its last run counts.
        key: returns the key that a change will ask for.
    """
    pace = Pace()
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) >= min(pace.count, CHANGES):
            yield store.transact(pace.timed(_changer(batch, change)), map(key, batch))
            batch = []
            time.sleep(PAUSE)
    if batch:
        yield store.transact(_changer(batch, change), map(key, batch))


def _changer(batch: list[T], change: Callable[[Entries, T], R]) -> Callable[[Entries], list[R]]:
    return lambda entries: [change(entries, item) for item in batch]
