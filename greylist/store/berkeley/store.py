"""The store in a Berkeley DB BTree: lock, look at the record, update, unlock."""

from __future__ import annotations

import os
import time

from greylist.store import StoreError, StoreGone, StoreSpent
from greylist.store.berkeley.due import due_path
from greylist.store.berkeley.environment import (
    CHECKPOINT_KBYTES,
    CHECKPOINT_MINUTES,
    db,
    home,
    identity,
    is_behind_its_log,
    never_freed,
    open_database,
    open_environment,
    pack_replacement,
    sync,
)
from greylist.store.berkeley.locks import KernelLock
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.purge import MINUTE, RECORD, count_entries, purge_step, steps_for
from greylist.store.berkeley.record import SIZE, Record, boot_identity, same_boot, share

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterable
    from typing import Any

    from greylist.log import Log
    from greylist.settings import Settings
    from greylist.store import Entry, Rules, T
    from greylist.store.berkeley.locks import Lock
    from greylist.store.berkeley.purge import Ordered
else:
    import _signal as signal

WATCHDOG = 5
"""Seconds after which a transaction hangs: libdb can loop for ever on a damaged page."""

WATCHDOG_SYNC = 60
"""The same for a checkpoint or a durable commit, which wait for the disk."""

JOIN, RECOVER, SET_ASIDE = range(3)
"""What to do with the environment, each when the one before did not help."""

CHECKPOINT_EVERY = 500
"""Transactions of one process after which it asks libdb whether a checkpoint is due, as it also
does after its first: asking takes as long as several transactions."""

_ERRORS = (db.DBError, MemoryError)
"""The exceptions for libdb's errors: ENOMEM, also that of a full region, is no DBError."""

SETTLED = 60
"""Seconds after which a kernel has written the name of a file without having been asked to."""

TICK = 0.1
"""Seconds within which a directory may change twice and have one time of change."""

LOOK_EVERY = 1.0
"""Seconds between two looks whether the lock file and the database are still there."""

SPARE_DESCRIPTORS = 8
"""Descriptors that an environment needs: libdb, when it has none left, sleeps for 12 s and more."""

GENERATIONS = 100
"""Environments that one process may leave open behind it; each costs it a few descriptors."""


SCAN_SECONDS = 0.002
"""Seconds that a batch of a scan may take: a request waits for one batch at most."""

SCAN_LOOK = 64
"""Entries that a scan reads between two looks at the clock."""


def open_store(
    settings: Settings, log: Log, rules: Rules, load: Callable[[], None]
) -> BerkeleyStore:
    """Return the store of a filter; root becomes the owner of the database's directory.

    Args:
        settings: name the database.
        log: hears of recoveries.
        rules: tell what is stale, and merge what was salvaged.
        load: loads the caller's modules, before root becomes somebody else.

    Raises:
        StoreError: the database cannot be kept where it is.
    """
    path = settings.database

    def load_both() -> None:
        load_all()
        load()

    check(path, load_both)
    lock = KernelLock(lock_path(path), settings.lock_timeout)
    store = BerkeleyStore(path, lock, log, rules, durable=settings.durable)
    if log.verbose > 2:
        log.info(f"open {path}")
    return store


def load_all() -> None:
    """Load what is needed only now and then, before root becomes somebody else.

    The program may lie in a home that only root can enter.
    """
    import filelock  # noqa: F401

    import greylist.store.berkeley.ownership
    import greylist.store.berkeley.recovery
    import greylist.store.berkeley.salvage  # noqa: F401


def _batch(entries: Ordered, cursor: bytes, count: int) -> tuple[bytes, list[Entry]]:
    """Return the entries after the cursor, as many as fit into SCAN_SECONDS, and where to go on.

    The record of the purging is the store's own business.
    """
    end = time.monotonic() + SCAN_SECONDS
    found: list[Entry] = []
    while len(found) < count:
        wanted = min(SCAN_LOOK, count - len(found))
        more = entries.after(cursor, wanted)
        found += [entry for entry in more if entry[0] != RECORD]
        if len(more) < wanted:
            return b"", found
        cursor = more[-1][0]
        if time.monotonic() > end:
            break
    return cursor, found


def is_sound(record: Record, path: str) -> bool:
    """Return whether a database's environment can be joined as it is."""
    try:
        return (
            not record.dirty
            and record.files == identity(path)
            and same_boot(record.boot, boot_identity())
        )
    except OSError:
        return False


class _Entries:
    """The database as one transaction sees it."""

    __slots__ = ("absent", "added", "database", "environment", "transaction")

    def __init__(self, environment: Any, database: Any) -> None:
        self.environment = environment
        self.database = database
        self.begin(None)

    def begin(self, transaction: Any) -> None:
        """Begin a transaction: nothing has been looked for in vain yet, and nothing added."""
        self.transaction = transaction
        self.absent: set[bytes] = set()
        self.added: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self.database.get(key, None, self.transaction)
        if value is None:
            self.absent.add(key)
        return value

    def put(self, key: bytes, value: bytes, keep: int) -> None:
        """Store a value; nothing is done about ``keep``: what is stale is told by the rules."""
        self.database.put(key, value, self.transaction)
        if key in self.absent:
            self.absent.remove(key)
            self.added.append(key)
        else:
            # Afterwards: before, the log may get the page with the old value, to be split.
            self.environment.log_printf(pack_replacement(key, value), self.transaction)

    def delete(self, key: bytes) -> None:
        try:
            self.database.delete(key, self.transaction)
        except db.DBNotFoundError:
            pass

    def after(self, key: bytes, count: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        cursor = self.database.cursor(self.transaction)
        try:
            entry = cursor.set_range(key)
            if entry and entry[0] == key:
                entry = cursor.next()
            while entry and len(found) < count:
                found.append(entry)
                entry = cursor.next()
        finally:
            cursor.close()
        return found


class BerkeleyStore:
    """The entries in one database file, shared by any number of processes."""

    def __init__(  # noqa: PLR0913 - what a store is made of
        self,
        path: str,
        lock: Lock,
        log: Log,
        rules: Rules,
        *,
        durable: bool = False,
        purging: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Open nothing yet but the lock file.

        Args:
            path: the database; ``permissions.check`` has found its place in order.
            lock: held during each transaction.
            log: hears of recoveries.
            rules: tell what is stale, and merge what was salvaged.
            durable: sync each transaction to the disk.
            purging: have new entries pay for a look at some that may be stale.
            clock: the time for purging, in seconds since the epoch.
        """
        self._path = path
        self._lock = lock
        self._log = log
        self._rules = rules
        self._durable = durable
        self._purging = purging
        self._clock = clock
        self._watchdog = WATCHDOG_SYNC if durable else WATCHDOG
        self._record = os.open(lock_path(path), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self._shared = share(self._record)
        except OSError as error:
            raise StoreError(f"{lock_path(path)}: {error.strerror}") from error
        self._clean = self._dirty = b"not attached"
        self._environment: Any = None
        self._entries: Any = None
        self._count = CHECKPOINT_EVERY
        self._generations = 0
        self._looked = -LOOK_EVERY
        self._names = 0.0
        self._purged = 0

    def transact(self, function: Callable[[Ordered], T], hint: Iterable[bytes] = ()) -> T:
        """Return what the function returns, its changes being stored as one.

        Args:
            function: reads and changes entries; may run more than once.
            hint: is not needed here.

        Raises:
            StoreError: nothing was changed.
        """
        self._lock.acquire()
        try:
            now = time.monotonic()
            if now - self._looked >= LOOK_EVERY:
                self._look()
                self._looked = now
            if self._shared[:] == self._clean:
                try:
                    return self._run(function)
                except _ERRORS as error:
                    return self._retry(function, error)
            return self._retry(function)
        finally:
            self._lock.release()

    def _look(self) -> None:
        """See that the lock file is still there: to the next process, no other is the lock.

        A database that was deleted or replaced is noticed too, and attached to anew.

        Raises:
            StoreError: it was deleted, or another one stands in its place.
        """
        path = lock_path(self._path)
        try:
            there = os.path.samestat(os.stat(path), os.fstat(self._record))
        except FileNotFoundError:
            there = False
        if not there:
            raise StoreGone(f"{path} was deleted or replaced; connect again")
        if self._environment is not None and not self._is_attached():
            self._clean = b"not attached"

    def _is_attached(self) -> bool:
        """Return whether the database and its environment are those that were opened."""
        try:
            here = b"%d,%d," % (os.stat(self._path).st_ino, os.stat(home(self._path)).st_ino)
        except FileNotFoundError:
            return False
        return Record.unpack(self._dirty).files.startswith(here)

    def _retry(self, function: Callable[[Ordered], T], error: Exception | None = None) -> T:
        """Attach and run; after libdb's error recover first, and after two start afresh."""
        remedy = JOIN if error is None else RECOVER
        while True:
            try:
                if error is not None:
                    self._give_up_if_hopeless(error, remedy)
                self._attach(remedy, error)
                result = self._run(function)
            except _ERRORS as failure:
                error = failure
                remedy += 1
            else:
                self._settle()
                return result

    def _run(self, function: Callable[[Ordered], T]) -> T:
        """Run the function in a transaction, under the watchdog, between dirty and clean."""
        self._shared[:] = self._dirty
        signal.alarm(self._watchdog)
        try:
            transaction = self._environment.txn_begin()
            try:
                result = self._call(function, transaction)
                transaction.commit()
            except _ERRORS:
                never_freed(transaction)
                raise  # the record stays dirty: the environment has to be recovered
            self._count += 1
            full = self._count >= CHECKPOINT_EVERY
            if full or self._durable:
                self._sync_names()
            if full and not self._checkpoint():
                return result  # which stands, but the record stays dirty
        finally:
            signal.alarm(0)
        self._shared[:] = self._clean
        return result

    def _call(self, function: Callable[[Ordered], T], transaction: Any) -> T:
        entries = self._entries
        entries.begin(transaction)
        try:
            result = function(entries)
            if entries.added and self._purging:
                self._purge(entries)
            return result
        except _ERRORS:
            raise
        except BaseException:
            transaction.abort()
            self._shared[:] = self._clean
            raise

    def _sync_names(self) -> None:
        """See that the name of a new log file is on the disk, before anybody relies on it.

        Nothing else is made in the directory but in a recovery, so its time of change tells. When
        nobody waits for the disk, names that are a minute old have got there by themselves.

        Raises:
            StoreError: they cannot be synced.
        """
        directory = home(self._path)
        try:
            changed = os.stat(directory).st_mtime
            if changed == self._names:
                return
            age = time.time() - changed
            if self._durable or abs(age) < SETTLED:
                sync(directory)
        except OSError as error:
            raise StoreError(f"{directory}: {error.strerror}") from error
        # Within a tick of the clock there may be another change.
        self._names = changed if age > TICK else 0.0

    def _purge(self, entries: _Entries) -> None:
        """Have new entries pay for a look at some that may be stale."""
        now = int(self._clock())
        steps = steps_for(entries.added)
        # Most have nothing to pay, and need not read how far it has come.
        if steps or not 0 <= now - self._purged < MINUTE:
            self._purged = purge_step(entries, steps, now, self._stale_at(now))

    def _stale_at(self, now: int) -> Callable[[bytes, bytes], bool]:
        rules = self._rules
        return lambda key, value: rules.is_stale(key, value, now)

    def count(self, most: int) -> int:
        """Return about how many entries there are, as of the last round of purging.

        Args:
            most: how many there may be; if there are more, it looks for what has expired.

        Raises:
            StoreError: the database cannot be read.
        """
        now = int(self._clock())
        return self.transact(lambda e: count_entries(e, now, most, self._stale_at(now)))

    def scan(self, cursor: bytes, count: int) -> tuple[bytes, list[Entry]]:
        """Return the next entries in the order of their keys, and where to go on.

        It takes about SCAN_SECONDS under the lock at most: a request should not notice.

        Raises:
            StoreError: the database cannot be read.
        """
        return self.transact(lambda entries: _batch(entries, cursor, count))

    def _checkpoint(self) -> bool:
        self._count = 0
        signal.alarm(WATCHDOG_SYNC)
        try:
            self._environment.txn_checkpoint(CHECKPOINT_KBYTES, CHECKPOINT_MINUTES)
        except _ERRORS as error:
            self._log.warning(f"{self._path}: no checkpoint: {error}")
            return False
        return True

    def _attach(self, remedy: int, error: Exception | None = None) -> None:
        """Join the environment as it is now, recovering it first if a holder died inside."""
        self._abandon()
        self._spare_descriptors()
        record = self._read()
        if remedy > JOIN or not is_sound(record, self._path):
            from greylist.store.berkeley import recovery  # cold: most filters never need it

            damage = recovery.describe(error) if error and remedy == SET_ASIDE else ""
            renewal = recovery.Renewal(
                self._path, self._durable, self._log, self._record, self._rules
            )
            renewal.run(record, damage)
        # Dirty before joining: a crash in there speaks against the environment as well.
        record.dirty = True
        record.pid = os.getpid()
        self._dirty = record.pack()
        os.pwrite(self._record, self._dirty, 0)
        signal.alarm(WATCHDOG)
        try:
            self._environment = open_environment(self._path, self._durable)
            if remedy == JOIN and is_behind_its_log(self._environment, self._path):
                raise db.DBError(0, "shared memory is of another time than the log")
            database = open_database(self._environment, self._path)
            self._entries = _Entries(self._environment, database)
        finally:
            signal.alarm(0)
        record.dirty = False
        record.pid = record.attempts = 0
        self._clean = record.pack()
        if os.path.lexists(due_path(self._path)):
            from greylist.store.berkeley import repair  # cold: after a recovery or a quarantine

            repair.start(self._path, self._log, self._rules)

    def _settle(self) -> None:
        """After a good transaction: the count of attempts starts anew."""
        record = Record.unpack(self._dirty)
        record.attempts = 0
        self._dirty = record.pack()

    def _read(self) -> Record:
        """Return the record, or a new one if there is none that can be read."""
        try:
            return Record.unpack(os.pread(self._record, SIZE, 0))
        except ValueError:
            return Record()

    def _spare_descriptors(self) -> None:
        spare: list[int] = []
        try:
            spare.extend(os.dup(self._record) for _ in range(SPARE_DESCRIPTORS))
        except OSError as error:
            raise StoreSpent(f"{self._path}: {error.strerror}") from error
        finally:
            for descriptor in spare:
                os.close(descriptor)

    def _give_up_if_hopeless(self, error: Exception, remedy: int) -> None:
        from greylist.store.berkeley import recovery

        reason = recovery.machine_fault(error, self._path)
        if remedy > SET_ASIDE or reason:
            detail = recovery.describe(error)
            text = detail if reason in detail else f"{reason} ({detail})"
            raise StoreError(f"{self._path}: {text}") from error
        self._log.warning(f"{self._path}: {recovery.describe(error)}")

    def _abandon(self) -> None:
        """Let go of stale handles, not closing them: see ``environment.never_freed``."""
        self._environment = self._entries = None
        self._generations += 1
        if self._generations > GENERATIONS:
            raise StoreSpent(f"{self._path}: recovered {GENERATIONS} times under one process")

    def quarantine(self, reason: str, files: bytes) -> None:
        """Set the database aside, unless it is another one than that with this identity.

        Raises:
            StoreError: it cannot be moved.
        """
        self._lock.acquire()
        try:
            if identity(self._path) == files:
                self._attach(SET_ASIDE, RuntimeError(reason))
                self._shared[:] = self._clean
        finally:
            self._lock.release()

    def check_pages(self) -> None:
        """Write everything out, and see that each page of the file is one.

        Raises:
            Damaged, db.DBError: one is not.
            StoreError: the lock cannot be had.
        """
        from greylist.store.berkeley.pages import check_pages  # cold

        self._lock.acquire()
        try:
            if self._shared[:] == self._clean:
                self._shared[:] = self._dirty
                signal.alarm(WATCHDOG_SYNC)
                self._environment.txn_checkpoint(0, 0, db.DB_FORCE)
                check_pages(self._path)
                self._shared[:] = self._clean
        finally:
            signal.alarm(0)
            self._lock.release()

    def flush(self) -> None:
        """See that all that was stored is on the disk.

        Raises:
            StoreError: it cannot be.
        """

        def checkpoint(_: Ordered) -> None:
            signal.alarm(WATCHDOG_SYNC)
            self._environment.txn_checkpoint(0, 0, db.DB_FORCE)

        self.transact(checkpoint)

    def close(self) -> None:
        """Close the database, unless somebody has recovered the environment since.

        An open database takes room in the shared regions even after its process has died.
        """
        if self._environment is None:
            return
        try:
            self._lock.acquire()
        except StoreError:
            return  # as if it had died; nothing is lost
        try:
            if self._shared[:] != self._clean:
                return
            self._shared[:] = self._dirty
            signal.alarm(WATCHDOG)
            self._entries.database.close(db.DB_NOSYNC)
            self._environment.close()
            self._shared[:] = self._clean
        except _ERRORS as error:
            self._log.warning(f"{self._path}: {error}")
        finally:
            signal.alarm(0)
            self._environment = self._entries = None
            self._lock.release()
