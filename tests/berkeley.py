"""A Berkeley DB store as a test opens it."""

from __future__ import annotations

from greylist.expiry import Rules
from greylist.log import Log
from greylist.settings import Settings
from greylist.store.berkeley.locks import KernelLock
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.store import BerkeleyStore, load_all

RULES = Rules(Settings())


def open_store(path: str, timeout: float = 10, log: Log | None = None, **options) -> BerkeleyStore:
    """Return the store at a path, under the default settings' rules."""
    check(path, load_all)
    rules = options.pop("rules", RULES)
    return BerkeleyStore(path, KernelLock(lock_path(path), timeout), log or Log(), rules, **options)
