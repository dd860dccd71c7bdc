"""The store in Valkey or Redis, as the commands use it."""

from __future__ import annotations

import time
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from greylist.store import StoreError
from greylist.store.batches import walk
from greylist.store.valkey.errors import Unavailable
from greylist.store.valkey.figures import figures
from greylist.store.valkey.store import ValkeyStore, reach

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from greylist.settings import Settings
    from greylist.store import Entry

PATIENCE = 10.0
"""Seconds that a command waits for one answer."""


class ValkeyMaintenance:
    """The database as commands use it."""

    expires_by_itself = True

    def __init__(self, settings: Settings) -> None:
        """Args: settings: name the database."""
        self._settings = settings

    @contextmanager
    def opened(self, create: bool = False, adopt: bool = False) -> Iterator[ValkeyStore]:
        """Open the database for a while; there always is one.

        Raises:
            StoreError: it cannot be used.
        """
        server, name = reach(self._settings)
        store = ValkeyStore(server, name, patience=PATIENCE)
        try:
            yield store
        finally:
            store.close()

    def exists(self) -> bool:
        """Return that there is a database.

        Raises:
            StoreError: it cannot be reached.
        """
        with self.opened() as store:
            store.scan(b"", 1)
        return True

    def acting(self) -> AbstractContextManager[None]:
        """Stay who we are: the server knows us by our password."""
        return nullcontext()

    @contextmanager
    def backup(self, recover: bool = True) -> Iterator[Iterator[Entry]]:
        """Yield the entries while requests go on, each as it is when it is read.

        A copy of one moment is what the server's own BGSAVE makes. Nothing has to be recovered.
        """
        with self.opened() as store:
            yield walk(store)

    def purge(self, now: int) -> Iterator[int]:
        """Do nothing: the server deletes what has expired by itself."""
        yield 0

    def sizes(self) -> tuple[int, int]:
        """Return the bytes of the server's memory and files, other programs' entries included.

        Raises:
            StoreError: it does not tell.
        """
        server, name = reach(self._settings)
        try:
            found = figures(server, time.monotonic() + PATIENCE)
        except Unavailable as error:
            raise StoreError(f"{name}: {error}") from error
        finally:
            server.close()
        return sum(one.memory for one in found), sum(one.file for one in found)
