"""The check of a suspect database and the salvage of those set aside, off the mail path.

It runs in a process of its own, started by any filter that comes to a database with the mark of
``due.py``, the one that recovered it being the first:

    python -m greylist.store.berkeley.checker DATABASE FACILITY NAME=VALUE...

The settings of the rules stand at the end. Only one works at a time: it holds a lock on
``DATABASE.repair``, whose text is the time of the last check.
"""

from __future__ import annotations

import os
import sys
import time
from itertools import pairwise

from greylist import child
from greylist.store.berkeley import due
from greylist.store.berkeley.quarantine import count_attempt, mark_done, sources, to_salvage
from greylist.store.berkeley.repair import lock, open_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from greylist.log import Log
    from greylist.store import Entries, Rules
    from greylist.store.berkeley.store import BerkeleyStore

    Merger = Callable[[bytes, bytes, bytes | None], bytes | None]
else:
    import _signal as signal

CPU_SECONDS = 600
"""The longest a check or a salvage may compute: 10**6 entries take less than a minute."""

BATCH = 50
"""Entries read or merged in one transaction: it takes about a millisecond."""

PAUSE = 0.002
"""Seconds between two transactions, in which the filters have their turn."""

LOOKS = 20
"""How often a repair looks whether another one is at work, before it leaves it to that."""

LOCK_TIMEOUT = 60.0
"""Nobody waits for a repair, so it can wait for the lock."""

RESERVE = 64 << 20
"""Bytes of free disk, or an eighth of a small one, below which nothing is salvaged: on a full disk
no filter answers."""

_DAMAGED = 3
"""The exit status of a check that found damage."""


def run(path: str, log: Log, rules: Rules) -> None:
    """Do the task that is due, unless another process does: a check, the salvage of all copies."""
    descriptor = open_lock(path)
    try:
        attempts = 1
        while not lock(descriptor):
            # A filter that looks whether somebody is at work has it for a moment.
            if attempts == LOOKS:
                return
            attempts += 1
            time.sleep(PAUSE)
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        task, text = due.read(path)
        while task:
            if task == due.CHECK:
                check_database(path, log, rules)
                os.pwrite(descriptor, b"%d\n" % time.time(), 0)  # see due.time_in
            if not _salvage_all(path, log, rules):
                due.postpone(path)
                break
            due.clear(path, text)
            task, text = due.read(path)
    finally:
        os.close(descriptor)


def _salvage_all(path: str, log: Log, rules: Rules) -> bool:
    """Return whether no copy waits for its salvage any more."""
    while copies := to_salvage(path):
        copy = copies[0]
        code = _in_child(log, lambda: salvage(path, copy, log, rules))  # noqa: B023 - called at once
        if _crashed(code) and code != -signal.SIGALRM:
            count_attempt(copy)
        elif code:
            return False
    return True


def _store(path: str, log: Log, rules: Rules) -> BerkeleyStore:
    from greylist.store.berkeley.locks import KernelLock
    from greylist.store.berkeley.permissions import check, lock_path
    from greylist.store.berkeley.store import BerkeleyStore, load_all

    check(path, load_all)
    return BerkeleyStore(path, KernelLock(lock_path(path), LOCK_TIMEOUT), log, rules)


def check_database(path: str, log: Log, rules: Rules) -> None:
    """Walk through the database in a child; set it aside if the child does not survive it."""
    from greylist.store.berkeley.environment import identity

    files = identity(path)
    code = _in_child(log, lambda: _walk(_store(path, log, rules)))
    if code == -signal.SIGALRM:
        # The watchdog: a machine that stood still for some seconds sets it off as well.
        code = _in_child(log, lambda: _walk(_store(path, log, rules)))
    if code == 0:
        log.info(f"check of {path}: no damage found")
    elif code == -signal.SIGPROF:
        log.warning(f"check of {path}: not finished after {CPU_SECONDS} s of computing")
    elif code == _DAMAGED:
        _store(path, log, rules).quarantine("the check found it so", files)
    elif _crashed(code):
        _store(path, log, rules).quarantine(f"reading it ends in signal {-code}", files)


def _in_child(log: Log, function: Callable[[], None]) -> int:
    """Return how a child ended that ran a function: 0, _DAMAGED, 1 or a negative signal."""
    from greylist.store.berkeley.environment import Damaged

    def work() -> int:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        try:
            function()
        except Damaged as damage:
            log.warning(str(damage))
            return _DAMAGED
        except Exception as error:  # noqa: BLE001 - nobody else would say so
            log.warning(str(error))
            return 1
        return 0

    return child.run(work)


def _crashed(code: int) -> bool:
    """Return whether a process ended by a signal that nobody sent."""
    return code < 0 and -code not in {signal.SIGKILL, signal.SIGTERM}


class _Undo(Exception):
    """Raised to abort a transaction."""


def _walk(store: BerkeleyStore) -> None:
    """Read every entry, try some updates, and look at the pages.

    Raises:
        Damaged, db.DBError: the database is.
    """
    from greylist.store.berkeley.environment import Damaged

    last = b""
    while batch := store.transact(lambda entries: entries.after(last, BATCH)):  # noqa: B023
        keys = [last, *(key for key, _ in batch)]
        if any(one >= next for one, next in pairwise(keys)):
            raise Damaged("its entries are out of order")
        last = keys[-1]
        time.sleep(PAUSE)
    try:
        store.transact(_exercise)
    except _Undo:
        pass
    store.check_pages()
    store.close()


def _exercise(entries: Entries) -> None:
    """Have pages taken from the list of free pages, which reading alone never touches.

    The keys are of no kind, so that ``merge`` refuses them if the process dies in here.
    """
    for number in range(BATCH):
        entries.put(b"check %d" % number, bytes(500), 0)
    raise _Undo


def salvage(path: str, copy: str, log: Log, rules: Rules) -> None:
    """Merge the readable entries of a copy into the database, and log their number.

    Raises:
        StoreError: the disk has no room, or the database cannot be used.
    """
    from greylist.store.berkeley.salvage import clock

    files = sources(path, copy)
    store = _store(path, log, rules)
    read = merged = 0
    batch: dict[bytes, bytes] = {}
    for key, value in _entries(files):
        if key in batch or len(batch) >= BATCH:
            merged += _merge_batch(store, path, batch, _merger(rules, clock(files)))
            batch = {}
        batch[key] = value
        read += 1
    merged += _merge_batch(store, path, batch, _merger(rules, clock(files)))
    store.flush()
    store.close()
    text = f"{read} entries read, {merged} of them merged into {path}"
    mark_done(copy, text)
    log.warning(f"salvaged {copy}: {text}")


def _entries(files: list[str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield what the files have: the log, which is newer than the database, and the pages."""
    from greylist.store.berkeley.salvage import scan
    from greylist.store.berkeley.transaction_log import additions, is_log

    logs = [file for file in files if is_log(os.path.basename(file))]
    last = {key: value for log in logs for key, value in additions(log)}
    yield from last.items()
    for file in files[len(logs) :]:
        # A cache may know of what a damaged log has lost; the database is older.
        known = last if file == files[-1] else {}
        yield from (entry for entry in scan(file) if entry[0] not in known)


def _merger(rules: Rules, now: int) -> Merger:
    """Return the function that merges a salvaged entry, as of this time."""
    return lambda key, salvaged, live: rules.merge(key, salvaged, live, now)


def _merge_batch(store: BerkeleyStore, path: str, batch: dict[bytes, bytes], merge: Merger) -> int:
    from greylist.store import StoreError

    def update(entries: Entries) -> int:
        count = 0
        for key, value in batch.items():
            new = merge(key, value, entries.get(key))
            if new is not None:
                entries.put(key, new, 0)
                count += 1
        return count

    space = os.statvfs(os.path.dirname(path))
    missing = min(RESERVE, space.f_blocks * space.f_frsize // 8) - space.f_bavail * space.f_frsize
    if missing > 0:
        raise StoreError(
            f"the salvage for {path} waits for room on the disk: "
            f"{(missing >> 20) + 1} MiB more have to be free"
        )
    time.sleep(PAUSE)
    return store.transact(update) if batch else 0


def main() -> None:
    """Run as a program of its own."""
    from greylist.expiry import Rules
    from greylist.log import Log
    from greylist.settings import Settings

    path, facility, *arguments = sys.argv[1:]
    settings = Settings()
    for argument in arguments:
        name, _, value = argument.partition("=")
        settings.set(name, value)
    log = Log()
    log.use(facility)
    try:
        run(path, log, Rules(settings))
    except Exception as error:  # noqa: BLE001 - nobody else would say so
        log.warning(f"repair of {path}: {error}")
        due.postpone(path)
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
