"""Long work on a store, done in short batches: requests go on meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.store import Entry, Store

MOST = 20_000
"""Entries in a batch at most, however fast they come."""

PAUSE = 0.001
"""Seconds between two batches, in which the filters that wait get the store."""


def walk(store: Store) -> Iterator[Entry]:
    """Yield all entries, each as it is when its batch is read.

    Entries that appear, change or go meanwhile are seen as before or after, each by itself;
    one that stays is seen at least once.

    Raises:
        StoreError: the store cannot be read.
    """
    cursor = b""
    while True:
        cursor, batch = store.scan(cursor, MOST)
        yield from batch
        if not cursor:
            return
        time.sleep(PAUSE)
