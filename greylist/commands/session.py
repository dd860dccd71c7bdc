"""The database as a command uses it: as its owner, and in short batches."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist.log import Log
from greylist.store import StoreError
from greylist.store.berkeley.locks import CommandLock
from greylist.store.berkeley.permissions import check, group, import_all, lock_path, not_ours, user
from greylist.store.berkeley.store import BerkeleyStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from greylist.settings import Settings
    from greylist.store import Entries, Store

    R = TypeVar("R")
    T = TypeVar("T")

PATIENCE = 10.0
"""Seconds that a command waits for the lock."""

BATCH_SECONDS = 0.002
"""What a batch aims to take: a request waits for one batch at most, and should not notice."""

MOST = 20_000
"""Entries in a batch at most, however fast they come."""

PAUSE = 0.001
"""Seconds between two batches, in which the filters that wait get the lock."""


@contextmanager
def opened(settings: Settings, create: bool = False) -> Iterator[Store]:
    """Open the database for a while.

    Root acts as the owner of the directory for that while, so as to leave no file behind that
    the filter cannot open, and is root again afterwards, to write where root may write.

    Raises:
        StoreError: it cannot be used; or there is none yet, and ``create`` is not set.
    """
    path = settings.database
    directory = os.path.dirname(path)
    with acting_as_owner(directory):
        if not present(path) and not create and os.path.isdir(directory):
            raise StoreError(f"there is no database at {path} yet; the first request makes it")
        check(path)
        lock = CommandLock(lock_path(path), PATIENCE)
        store = BerkeleyStore(path, lock, to_person(), settings.durable)
        try:
            yield store
        finally:
            store.close()


def present(path: str) -> bool:
    """Return whether there is a database, as far as this user is to know.

    Raises:
        StoreError: its directory is somebody else's.
    """
    directory = os.path.dirname(path)
    try:
        owner = os.stat(directory).st_uid
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(f"{directory}: {error.strerror}") from error
    if owner != os.geteuid():
        text = not_ours(directory, owner)
        raise StoreError(f"{text}; mend it: run this as root, or as {user(owner)}")
    return os.path.exists(path)


def to_person() -> Log:
    """Return a log on standard error."""
    log = Log()
    log.to_stderr(only=True)
    return log


@contextmanager
def acting_as_owner(directory: str) -> Iterator[None]:
    """Have root act as the owner of a directory that is not root's own."""
    try:
        status = os.stat(directory)
    except OSError:
        status = None
    if status is None or os.geteuid() != 0 or status.st_uid == 0:
        yield
        return
    import_all()
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(group(status.st_uid))
    os.seteuid(status.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


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


def walk(store: Store, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries after ``start`` by key, each as it is when its batch is read.

    Entries that appear, change or go meanwhile are seen as before or after, each by itself;
    one that stays is seen exactly once.
    """
    pace = Pace()
    while True:
        count = pace.count
        batch = store.transact(pace.timed(_reader(start, count)))
        yield from batch
        if len(batch) < count:
            return
        start = batch[-1][0]
        time.sleep(PAUSE)


def _reader(start: bytes, count: int) -> Callable[[Entries], list[tuple[bytes, bytes]]]:
    return lambda entries: entries.after(start, count)


def apply(store: Store, items: Iterable[T], change: Callable[[Entries, T], R]) -> Iterator[list[R]]:
    """Apply a change to each item in short transactions; yield what it returned, by batch.

    The change may run more than once for an item; only its last run counts.
    """
    pace = Pace()
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) >= pace.count:
            yield store.transact(pace.timed(_changer(batch, change)))
            batch = []
            time.sleep(PAUSE)
    if batch:
        yield store.transact(_changer(batch, change))


def _changer(batch: list[T], change: Callable[[Entries, T], R]) -> Callable[[Entries], list[R]]:
    return lambda entries: [change(entries, item) for item in batch]
