"""After a death or damage: recover, or set the database aside and start afresh.

Callers hold the lock. No ordinary request comes here, so a filter imports it only on need.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from glob import escape, glob

from greylist import child
from greylist.privileges import user
from greylist.store import StoreError
from greylist.store.berkeley import due
from greylist.store.berkeley.environment import Damaged, db, home, identity
from greylist.store.berkeley.pages import has_checksums
from greylist.store.berkeley.permissions import check_environment, not_ours
from greylist.store.berkeley.quarantine import quarantine, resume, salvage_too, to_salvage
from greylist.store.berkeley.rebuild import discard_log, prepare
from greylist.store.berkeley.record import Record, boot_identity, same_boot
from greylist.system import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from greylist.log import Log
    from greylist.store import Rules
else:
    import _signal as signal

CPU_SECONDS = 5
"""A recovery reads a few MiB of log: one that computes for longer loops on a damaged page."""

RECOVERY_SECONDS = 60
"""The longest wait for a recovery, for a disk that is slow or a mutex that nobody frees."""

BYTES_A_CPU_SECOND = 64 << 20
BYTES_A_SECOND = 8 << 20
"""What a recovery reads of the database at least, as it looks at each page: a large one has more
time."""

BYTES_REWRITTEN_A_CPU_SECOND = 5 << 20
"""The same of one without checksums, which gets them then: once, when it is taken over."""

ATTEMPTS = 10
"""Recoveries in a row, with no good transaction between, after which the files are at fault."""

NEW = b"new"
"""The record's text for the files while they are first created."""

_TROUBLE = {errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE}
"""Errors of the machine, which no other database would mend."""

_DOUBTFUL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.ENOMEM}
"""Errors of the machine or of a damaged file with absurd numbers in it, or a full region."""

_RESERVE = 16 << 20
"""Bytes of disk and of memory below which an error says nothing against the database."""


def machine_fault(error: BaseException, path: str) -> str:
    """Return a fault of the machine; an empty text if the database is to blame."""
    number = error.args[0] if error.args else None
    if isinstance(number, int):
        if number in {errno.EACCES, errno.EPERM}:
            return _foreign(path) or os.strerror(number)
        if number in _TROUBLE:
            return os.strerror(number)
    if isinstance(error, OSError):  # of a call of our own
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    doubtful = isinstance(error, MemoryError) or number in _DOUBTFUL
    return _shortage(path) if doubtful else ""


def _foreign(path: str) -> str:
    """Return a complaint about a file of another user; an empty text if there is none."""
    files = [name for name in glob(f"{escape(path)}*") if not os.path.islink(name)]
    for file in sorted([*files, *(f"{name}/{inner}" for name in files for inner in _inside(name))]):
        owner = os.lstat(file).st_uid
        if owner != os.geteuid():
            return f"{not_ours(file, owner)}; mend it: chown -R {user()} {quoted(path)}*"
    return ""


def _inside(directory: str) -> list[str]:
    return os.listdir(directory) if os.path.isdir(directory) else []


def _shortage(path: str) -> str:
    """Return the resource that the machine lacks, or an empty text: ask for some and see.

    libdb often reports a full disk as an environment that has to be recovered.
    """
    probe = f"{path}.probe"
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        mmap.mmap(-1, _RESERVE).close()
        descriptor = os.open(probe, flags, 0o600)
        try:
            os.unlink(probe)
            os.posix_fallocate(descriptor, 0, _RESERVE)
            os.write(descriptor, bytes(4096))
            os.pwrite(descriptor, bytes(4096), 0)
            os.fdatasync(descriptor)  # as libdb does
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror or str(error)
    return ""


class Renewal:
    """One attempt to make the environment fit for use, by the holder of the lock."""

    def __init__(self, path: str, durable: bool, log: Log, descriptor: int, rules: Rules) -> None:
        """Args: descriptor: the lock file with the record; rules: merge what is salvaged."""
        self.path = path
        self.durable = durable
        self.log = log
        self.descriptor = descriptor
        self.rules = rules

    def run(self, record: Record, damage: str = "") -> None:
        """Recover, or set the damaged database aside and make a new one; update the record.

        Args:
            record: as it was found.
            damage: why recovery need not be tried.

        Raises:
            StoreError: the machine is in trouble, and the database is as it was.
        """
        check_environment(self.path)
        found, files = Record.unpack(record.pack()), _identity(self.path)
        record.generation += 1
        record.dirty = True
        record.pid = os.getpid()
        swapped = bool(files) and found.files not in {b"-", NEW, files}
        alone = not files and os.path.lexists(self.path) and os.path.getsize(self.path) > 0
        resume(self.path)
        self._begin(record)
        self._renew(record, damage or _useless(record), swapped)
        # Only now: who is killed in a recovery says nothing of the database, and a crash in there
        # was the child's. The count is written before anybody goes in.
        record.attempts += 1
        if found.dirty:
            record.recovered = int(time.time())
        if not damage:
            self._report(found, files, swapped, alone)
        record.boot = boot_identity()
        record.files = identity(self.path)
        self._mark_due(found, swapped or alone, bool(files))

    def _mark_due(self, found: Record, foreign: bool, existed: bool) -> None:
        """Mark that the suspect database has to be checked, and the one set aside salvaged.

        The watchdog may have ended the process, or libdb: a death speaks against the database. One
        that comes from elsewhere may be torn, as its last pages may have been in the log, and so
        may one whose pages were on their way to the disk when the power went.

        Raises:
            StoreError: the mark cannot be written.
        """
        rebooted = existed and not same_boot(found.boot, boot_identity())
        try:
            if foreign:
                due.forget_check(self.path)
            if (found.dirty or foreign or rebooted) and not due.checked_lately(self.path):
                due.mark(self.path, due.CHECK)
            elif to_salvage(self.path):
                due.mark(self.path, due.SALVAGE)
        except OSError as error:
            # The record stays dirty: without a mark, nobody would ever salvage what was set aside.
            raise StoreError(f"cannot note that {self.path} is to be checked: {error}") from error

    def _begin(self, record: Record) -> None:
        """Write the record; a creation that died before there was a database begins anew."""
        if not (os.path.lexists(self.path) and os.path.getsize(self.path)):
            if record.files == NEW:
                discard_log(self.path)
            if not os.path.lexists(home(self.path)):
                record.files = NEW
        os.pwrite(self.descriptor, record.pack(), 0)
        if record.files == NEW:
            os.fsync(self.descriptor)  # so that a power cut is not taken for a lost database

    def _renew(self, record: Record, damage: str, swapped: bool) -> None:
        if not damage:
            damage = self._try(record)
            if damage and not damage.startswith("the recovery"):
                self._begin(record)
                damage = self._try(record)  # an error of the disk may have been a passing one
        log = ""
        if damage and swapped:
            # Perhaps a backup, or another host's: its pages name positions in another log.
            log = quarantine(self.path, self.log, only_log=True)
            self.log.warning(f"{self.path} does not go with its log ({damage}): saved as {log}")
            damage = self._try(record)
        if damage:
            if log:
                salvage_too(log)  # what tells one database from another is damaged itself
            aside = quarantine(self.path, self.log)
            self.log.warning(f"{self.path} is damaged ({damage}): saved as {aside}")
            self._begin(record)
            again = self._try(record)
            if again:
                raise StoreError(f"cannot create {self.path}: {again}")

    def _try(self, record: Record) -> str:
        try:
            recover(self.path, self.durable, record.files == NEW, self.rules)
        except Damaged as damage:
            return str(damage)
        return ""

    def _report(self, found: Record, files: bytes, swapped: bool, alone: bool) -> None:
        if found.dirty:
            self.log.warning(
                f"{self.path}: recovered, as process {found.pid} left it in mid-update"
            )
        elif alone:
            self.log.info(f"{self.path}: it came without its log, and will be checked")
        elif not files and self.log.verbose:
            self.log.info(f"{self.path}: created, or made ready for use")
        elif swapped:
            self.log.info(f"{self.path}: another database or environment stands in its place")


def _useless(record: Record) -> str:
    if record.attempts < ATTEMPTS:
        return ""
    record.attempts = 0
    return f"{ATTEMPTS} recoveries in a row did not help"


def _identity(path: str) -> bytes:
    try:
        return identity(path)
    except OSError:
        return b""


def recover(path: str, durable: bool, new: bool, rules: Rules) -> None:
    """Make the environment fit for use, in a process of its own.

    Raises:
        StoreError: the machine is in trouble; the database is as it was.
        Damaged: the database or its log is.
    """
    status, text = _in_child(path, lambda: prepare(path, durable, rules, new))
    if status == "damaged":
        shortage = _shortage(path)
        if not shortage:
            raise Damaged(text)
        status, text = "trouble", f"{shortage} ({text})"
    if status == "trouble":
        raise StoreError(f"{path}: {text}")


def _in_child(path: str, function: Callable[[], None]) -> tuple[str, str]:
    """Return ``ok``, ``trouble`` or ``damaged``, and why, of a function run by a child.

    The child shares the open lock file, so the lock is held until both are gone.
    """
    size = os.path.getsize(path) if os.path.lexists(path) else 0
    rate = BYTES_A_CPU_SECOND if _is_as_we_make_it(path) else BYTES_REWRITTEN_A_CPU_SECOND
    reader, writer = os.pipe()
    told = b""

    def work() -> int:
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS + size / rate)
        signal.setitimer(signal.ITIMER_REAL, RECOVERY_SECONDS + size / BYTES_A_SECOND)
        try:
            function()
        except BaseException as error:  # noqa: BLE001 - whatever it is, the parent hears of it
            # A module that cannot be read says nothing against the database.
            reason = str(error) if isinstance(error, ImportError) else machine_fault(error, path)
            text = ("trouble " + reason) if reason else f"damaged {describe(error)}"
            os.write(writer, text.encode(errors="replace")[:1000])
            return 1
        return 0

    def listen() -> None:
        nonlocal told
        os.close(writer)
        with open(reader, "rb") as pipe:
            told = pipe.read()

    try:
        code = child.run(work, listen)
    except OSError as error:
        return "trouble", f"no process can be started to recover it: {error.strerror}"
    if code == 0:
        return "ok", ""
    if told:
        kind, _, text = told.decode(errors="replace").partition(" ")
        return kind, text
    return _verdict(-code)


def _is_as_we_make_it(path: str) -> bool:
    try:
        return has_checksums(path)
    except (OSError, IndexError):
        return True  # what is no database is not rewritten


def _verdict(number: int) -> tuple[str, str]:
    """Return the verdict on the database after a recovery that ended by this signal."""
    if number < 0:
        return "trouble", "the recovery could not begin"
    if number in {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}:
        return "trouble", "the recovery was killed"
    if number == signal.SIGPROF:
        return "damaged", "the recovery computed for too long"
    if number == signal.SIGALRM:
        return "damaged", "the recovery took too long"
    return "damaged", f"the recovery died of signal {number}"


def describe(error: BaseException) -> str:
    """Return an error in words: libdb's message, where it has one."""
    if isinstance(error, (db.DBError, MemoryError)) and len(error.args) > 1:
        return str(error.args[1])
    return str(error) or type(error).__name__
