"""The check of a suspect database and the salvage of those set aside, off the mail path.

It runs in a process of its own, started by the filter that recovered the database:

    python -m greylist.store.berkeley.checker DATABASE FACILITY check|salvage

Only one works at a time: it holds a lock on ``DATABASE.repair``, whose text is the time of the
last check.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from itertools import pairwise

from greylist.store.berkeley.quarantine import count_attempt, mark_done, to_salvage

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable

    from greylist.log import Log
    from greylist.store import Entries
    from greylist.store.berkeley.store import BerkeleyStore
else:
    import _signal as signal

CHECK_INTERVAL = 600
"""Seconds between two checks, however often the database is recovered."""

CPU_SECONDS = 600
"""The longest a check or a salvage may compute: 10**6 entries take less than a minute."""

BATCH = 50
"""Entries read or merged in one transaction: it takes about a millisecond."""

PAUSE = 0.002
"""Seconds between two transactions, in which the filters have their turn."""

LOCK_TIMEOUT = 60.0
"""Nobody waits for a repair, so it can wait for the lock."""

_DAMAGED = 3
"""The exit status of a check that found damage."""


def start(path: str, log: Log, check: bool) -> None:
    """Start the repair process, and do not wait for it; a check only if the last was long ago."""
    if check and abs(time.time() - _last_check(path)) < CHECK_INTERVAL:
        check = False
        if not to_salvage(path):
            return
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    task = "check" if check else "salvage"
    command = [sys.executable, "-P", "-m", __name__, path, log.facility, task]
    null = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in range(3)]
    try:
        # A session of its own: at a time-out, spawn(8) kills the whole process group.
        os.posix_spawn(
            sys.executable,
            command,
            {**os.environ, "PYTHONPATH": package},
            file_actions=null,
            setsid=True,
            setsigdef=[signal.SIGALRM, signal.SIGTERM],
        )
    except (OSError, TypeError) as error:
        log.warning(f"cannot start a {task} of {path}: {error}")


def forget_check(path: str) -> None:
    """Make the next check not wait: the last one was of another database."""
    try:
        os.truncate(f"{path}.repair", 0)
    except OSError:
        pass  # there was none


def _last_check(path: str) -> int:
    try:
        with open(f"{path}.repair", "rb", buffering=0) as file:
            return int(file.read(20))
    except (OSError, ValueError):
        return 0


def run(path: str, log: Log, check: bool) -> None:
    """Check the database, if asked to, and salvage all copies that wait for it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(f"{path}.repair", flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if check else 0))
    except BlockingIOError:
        pass
    else:
        _work(descriptor, path, log, check)
    finally:
        os.close(descriptor)


def _work(descriptor: int, path: str, log: Log, check: bool) -> None:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    if check and abs(time.time() - _last_check(path)) >= CHECK_INTERVAL:
        os.pwrite(descriptor, b"%d\n" % time.time(), 0)
        check_database(path, log)
    while copies := to_salvage(path):
        copy = copies[0]
        code = _in_child(log, lambda: salvage(path, copy, log))  # noqa: B023 - called at once
        if _crashed(code) and code != -signal.SIGALRM:
            count_attempt(copy)
        elif code:
            break  # the next recovery starts it again, and the watchdog's brings one


def _store(path: str, log: Log) -> BerkeleyStore:
    from greylist.store.berkeley.locks import KernelLock
    from greylist.store.berkeley.permissions import check, lock_path
    from greylist.store.berkeley.store import BerkeleyStore

    check(path)
    return BerkeleyStore(path, KernelLock(lock_path(path), LOCK_TIMEOUT), log)


def check_database(path: str, log: Log) -> None:
    """Walk through the database in a child; set it aside if the child does not survive it."""
    from greylist.store.berkeley.environment import identity

    files = identity(path)
    code = _in_child(log, lambda: _walk(_store(path, log)))
    if code == -signal.SIGALRM:
        # The watchdog: a machine that stood still for some seconds sets it off as well.
        code = _in_child(log, lambda: _walk(_store(path, log)))
    if code == 0:
        log.info(f"check of {path}: no damage found")
    elif code == -signal.SIGPROF:
        log.warning(f"check of {path}: not finished after {CPU_SECONDS} s of computing")
    elif code == _DAMAGED:
        _store(path, log).quarantine("the check found it so", files)
    elif _crashed(code):
        _store(path, log).quarantine(f"reading it ends in signal {-code}", files)


def _in_child(log: Log, function: Callable[[], None]) -> int:
    """Return how a child ended that ran a function: 0, _DAMAGED, 1 or a negative signal."""
    from greylist.store.berkeley.environment import Damaged

    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
            function()
            code = 0
        except Damaged as damage:
            log.warning(str(damage))
            code = _DAMAGED
        except Exception as error:  # noqa: BLE001 - nobody else would say so
            log.warning(str(error))
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


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
        entries.put(b"check %d" % number, bytes(500))
    raise _Undo


def salvage(path: str, copy: str, log: Log) -> None:
    """Merge what can be read of a copy into the database, and say how much that was."""
    store = _store(path, log)
    read = merged = 0
    batch: dict[bytes, bytes] = {}
    for source in _sources(path, copy):
        for key, value in _scan(source):
            if key in batch or len(batch) >= BATCH:
                merged += _merge_batch(store, batch)
                batch = {}
            batch[key] = value
            read += 1
    merged += _merge_batch(store, batch)
    store.close()
    text = f"{read} entries read, {merged} of them merged into {path}"
    mark_done(copy, text)
    log.warning(f"salvaged {copy}: {text}")


def _sources(path: str, copy: str) -> list[str]:
    """Return the files with pages: the cache, which is newer, and the database."""
    from greylist.store.berkeley.environment import home

    directory = os.path.join(copy, os.path.basename(home(path)))
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    caches = [os.path.join(directory, name) for name in names if "__db." in name]
    database = os.path.join(copy, os.path.basename(path))
    return [*caches, database] if os.path.exists(database) else caches


def _scan(source: str) -> Iterable[tuple[bytes, bytes]]:
    from greylist.store.berkeley.salvage import scan

    return scan(source)


def _merge_batch(store: BerkeleyStore, batch: dict[bytes, bytes]) -> int:
    from greylist.store.berkeley.merge import merged

    def update(entries: Entries) -> int:
        count = 0
        for key, value in batch.items():
            new = merged(key, value, entries.get(key), int(time.time()))
            if new is not None:
                entries.put(key, new)
                count += 1
        return count

    if not batch:
        return 0
    time.sleep(PAUSE)
    return store.transact(update)


def main() -> None:
    """Run as a program of its own."""
    from greylist.log import Log

    path, facility, task = sys.argv[1:]
    log = Log()
    log.use(facility)
    try:
        run(path, log, task == "check")
    except Exception as error:  # noqa: BLE001 - nobody else would say so
        log.warning(f"{task} of {path}: {error}")
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
