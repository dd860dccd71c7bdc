"""What the commands ask of the Berkeley DB store: opened as its owner, backed up, purged, sized."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist.privileges import acting_as
from greylist.store import StoreError
from greylist.store.batches import PAUSE
from greylist.store.berkeley import purge
from greylist.store.berkeley.backup import snapshot
from greylist.store.berkeley.environment import home
from greylist.store.berkeley.locks import CommandLock
from greylist.store.berkeley.permissions import check, exists, lock_path
from greylist.store.berkeley.reading import Reader
from greylist.store.berkeley.store import BerkeleyStore, load_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from greylist.log import Log
    from greylist.settings import Settings
    from greylist.store import Entry, Rules
    from greylist.store.berkeley.purge import Ordered

PATIENCE = 10.0
"""Seconds that a command waits for the lock."""

PURGE_BATCH = 400
"""Entries looked at in one transaction of a purge: it takes about 2 ms."""


class BerkeleyMaintenance:
    """The database as commands use it."""

    expires_by_itself = False

    def __init__(self, settings: Settings, log: Log, rules: Rules) -> None:
        """Args: settings: name the database; log: is told of recoveries; rules: for the store."""
        self._settings = settings
        self._path = settings.database
        self._log = log
        self._rules = rules

    @contextmanager
    def opened(self, create: bool = False, adopt: bool = False) -> Iterator[BerkeleyStore]:
        """Open the database for a while; with ``create``, it need not exist.

        With ``adopt``, a BTree that has never been used here is taken over.

        Root acts as the owner of the directory for that while, so as to leave no file behind
        that the filter cannot open, and is root again afterwards, to write where root may write.

        Raises:
            StoreError: it cannot be used, or does not exist.
        """
        path = self._path
        with self.acting():
            self._require(create)
            check(path, load_all, adopt)
            lock = CommandLock(lock_path(path), PATIENCE)
            durable = self._settings.durable
            store = BerkeleyStore(
                path, lock, self._log, self._rules, durable=durable, purging=False
            )
            try:
                yield store
            finally:
                store.close()

    def _require(self, create: bool) -> None:
        """See that there is a database as far as this user is to know, unless it may be made."""
        if not self.exists() and not create and os.path.isdir(os.path.dirname(self._path)):
            text = f"there is no database at {self._path} yet; the first request makes it"
            raise StoreError(text)

    def exists(self) -> bool:
        """Return whether there is a database, as far as this user is to know.

        Raises:
            StoreError: its directory is somebody else's.
        """
        return exists(self._path)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Have root act as the owner of the database's directory, if it is not root's own."""
        try:
            status = os.stat(os.path.dirname(self._path))
        except OSError:
            status = None
        load_all()
        with acting_as(status.st_uid if status else 0):
            yield

    @contextmanager
    def backup(self, recover: bool = True) -> Iterator[Iterator[Entry]]:
        """Yield the entries as of one moment, in the order of their keys, while requests go on.

        They are those of a copy: a database that is in use is not changed.

        Args:
            recover: whether one that has to be made ready for use first may be.

        Raises:
            StoreError: there is no database, or it cannot be copied or read.
        """
        reader = Reader(self._path, PATIENCE)
        with self.acting():
            self._require(create=False)
            check(self._path, load_all, adopt=False, create=False)
            if not reader.is_sound():
                if not recover:
                    raise StoreError(f"{self._path} has to be made ready for use first")
                with self.opened() as store:
                    store.scan(b"", 1)
            with snapshot(reader, self._path) as entries:
                yield entries

    def purge(self, now: int) -> Iterator[int]:
        """Delete the stale entries in short batches; yield how many in each."""
        position = b""
        with self.opened() as store:
            while True:
                position, number = store.transact(self._purger(position, now))
                yield number
                if not position:
                    return
                time.sleep(PAUSE)

    def _purger(self, position: bytes, now: int) -> Callable[[Ordered], tuple[bytes, int]]:
        def step(entries: Ordered) -> tuple[bytes, int]:
            def is_stale(key: bytes, value: bytes) -> bool:
                return self._rules.is_stale(key, value, now)

            return purge.purge(entries, position, PURGE_BATCH, is_stale)[:2]

        return step

    def sizes(self) -> tuple[int, int]:
        """Return the bytes on disk of the database, and of its log and shared regions."""
        log = 0
        try:
            with os.scandir(home(self._path)) as files:
                log = sum(file.stat().st_blocks * 512 for file in files)
        except FileNotFoundError:
            pass
        return os.stat(self._path).st_size, log
