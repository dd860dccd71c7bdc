"""Trouble of the machine: no reply, one clear line, and nothing lost when it is over."""

from __future__ import annotations

import _signal
import contextlib
import fcntl
import os
import re
import resource
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

from greylist.store import StoreError
from greylist.store.berkeley import recovery
from greylist.store.berkeley import store as berkeley
from greylist.store.berkeley.locks import NAPS, YIELDS, CommandLock, KernelLock
from tests.reliability.corruption import mark_dirty
from tests.reliability.harness import ask_until_answered, key, request

pytest_plugins = ["tests.reliability.fixtures"]

ON_STDERR = {"arguments": ["--log", "stderr"], "stderr": "file"}


def fatal(process) -> str:
    """Return the one line in which a filter that ended says why."""
    assert process.end() == 1
    lines = process.errors().splitlines()
    lines = [line for line in lines if "fatal: " in line]
    assert len(lines) == 1, lines
    return lines[0]


def fill(path, leave: int) -> None:
    """Fill up a file system but for some bytes."""
    with path.open("wb") as file:
        space = os.statvfs(path)
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize - leave)


def answered_until_full(house, first: int) -> list[int]:
    """Ask until there is no answer; return what was answered."""
    process = house.filter(**ON_STDERR)
    done = []
    for number in range(first, first + 100_000):
        if not process.ask(request(number)):
            break
        done.append(number)
    assert "No space left on device" in fatal(process)
    return done


@pytest.mark.parametrize("leave", [0, 300_000, 3_000_000])
def test_full_disk(small_disk, leave):
    """A full disk means no reply and a line that says so; with room again, all is there."""
    house = small_disk
    assert house.filter().ask(request(1))
    filler = house.directory / "filler"
    fill(filler, leave)
    done = answered_until_full(house, 10)
    failed = 0
    while failed < 12:
        number = 1_000_000 + len(done)
        process = house.filter(**ON_STDERR)
        if process.ask(request(number)):  # the recovery has made some room, in its log
            process.end()
            done += [number, *answered_until_full(house, number + 1)]
        else:
            assert "No space left on device" in fatal(process)
            failed += 1
    filler.unlink()
    assert ask_until_answered(house, request(2), 1)[0]
    entries = house.entries()
    assert all(key(number) in entries for number in [1, 2, *done])
    assert not house.copies()
    house.verify()


def test_full_disk_at_creation(small_disk):
    """A database that cannot be created for want of room is created when there is some."""
    house = small_disk
    filler = house.directory / "filler"
    fill(filler, 1_000_000)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1)) == b""
    assert "No space left on device" in fatal(process)
    filler.unlink()
    assert ask_until_answered(house, request(1), 1)[0]
    assert not house.copies()


def limited(what: int, limit: int):
    return lambda: resource.setrlimit(what, (limit, limit))


def peak(process) -> int:
    """Return the most address space that a process has had, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmPeak:\s+(\d+) kB", status)[1]) << 10


@pytest.mark.parametrize(
    ("what", "limit", "words"),
    [
        (resource.RLIMIT_NOFILE, 12, "Too many open files"),
        (resource.RLIMIT_FSIZE, 500_000, "File too large"),
        (resource.RLIMIT_AS, None, "Cannot allocate memory"),
    ],
)
def test_limits(house, what, limit, words):
    """Under a limit that is too low there is no reply; without it, all is there."""
    process = house.filter(**ON_STDERR)
    for number in range(3000):
        assert process.ask(request(number))
    # The last that it takes is libdb's memory.
    limit = limit or peak(process) - (3 << 20)
    process.kill()
    mark_dirty(house)
    for _ in range(12):
        process = house.filter(**ON_STDERR, preexec_fn=limited(what, limit))
        assert process.ask(request(10**6)) == b""
        assert words in fatal(process)
    assert ask_until_answered(house, request(10**6), 1)[0]
    entries = house.entries()
    assert all(key(number) in entries for number in range(3000))
    assert not house.copies()


@pytest.mark.parametrize("what", ["NOFILE", "FSIZE"])
def test_limit_is_named(house, what):
    """The line says which limit it was."""
    ask_until_answered(house, request(1), 1)
    mark_dirty(house)
    limit, words = {"NOFILE": (10, "Too many open files"), "FSIZE": (10_000, "File too large")}[
        what
    ]
    options = {**ON_STDERR, "preexec_fn": limited(getattr(resource, f"RLIMIT_{what}"), limit)}
    process = house.filter(**options)
    assert process.ask(request(1)) == b""
    assert words in fatal(process)


def test_stopped_holder(house):
    """Waiters give up after lock_timeout, asleep until then, and name who holds the lock."""
    house.configure(lock_timeout="1s")
    holder = house.filter(**ON_STDERR)
    assert holder.ask(request(1))

    def stop(entries) -> None:
        # A holder in mid-update, stopped before it can go on.
        child = os.fork()
        if child == 0:
            os.kill(os.getppid(), signal.SIGSTOP)
            os._exit(0)
        os.waitpid(child, 0)

    pid = os.fork()
    if pid == 0:
        _signal.alarm = lambda _: None  # its own watchdog, which counts on while stopped
        house.store().transact(stop)
        os._exit(0)
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    try:
        started = time.monotonic()
        process = house.filter(**ON_STDERR)
        assert process.ask(request(2)) == b""
        assert 0.9 < time.monotonic() - started < 5
        line = fatal(process)
        assert f"locked after 1 s by process {pid}" in line
        assert "which is stopped" in line
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert holder.ask(request(2)), holder.errors()
    holder.end()


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_killed_recoveries(house):
    """However often recoveries are killed in the middle, the database is not at fault."""
    ask_until_answered(house, request(1), 1)
    mark_dirty(house)
    slow = ("strace", "-f", "-o", "/dev/null", "-e", "inject=fdatasync:delay_enter=500000")
    for _ in range(recovery.ATTEMPTS + 2):
        generation = house.record().generation
        process = house.filter(slow)
        os.write(process.process.stdin.fileno(), request(2))
        while house.record().generation == generation:
            assert process.process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    assert ask_until_answered(house, request(1), 1)[0]
    assert not house.copies()
    assert {key(1)} == set(house.entries())


def test_bell_as_the_lock_is_had(tmp_path):
    """A lock that comes as the time is up is used or let go, but never kept."""
    path = tmp_path / "lock"
    path.touch()
    before = signal.getsignal(signal.SIGALRM)
    lock = KernelLock(str(path), 0.01)
    with path.open("rb") as other:
        for step in range(100):
            fcntl.flock(other, fcntl.LOCK_EX)
            delay = 0.011 + step * 0.00005  # the bell rings somewhere in the middle
            timer = threading.Timer(delay, fcntl.flock, (other, fcntl.LOCK_UN))
            timer.start()
            with contextlib.suppress(StoreError):
                lock.acquire()
                lock.release()
            timer.join()
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(other, fcntl.LOCK_UN)
            assert signal.getsignal(signal.SIGALRM) is before


def test_lock_file_emptied(house):
    """Who works on ends, as its record has gone from memory; the next one answers, unharmed."""
    process = house.filter()
    assert process.ask(request(1))
    os.truncate(house.path + ".lock", 0)
    assert process.ask(request(2)) == b""
    assert process.end() == -signal.SIGBUS
    _, tries = ask_until_answered(house, request(3), 1)
    assert tries == 1
    assert key(1) in house.entries()
    assert not house.copies()


@pytest.mark.parametrize("how", ["emptied", "deleted"])
def test_lock_file_gone_and_another_filter_there(house, how):
    """Whoever still holds the old file's lock ends or starts anew; no answer is lost."""
    process = house.filter()
    assert process.ask(request(1))
    if how == "emptied":
        os.truncate(house.path + ".lock", 0)
    else:
        os.unlink(house.path + ".lock")
    other = house.filter()
    assert other.ask(request(2))
    answered = [1, 2]
    for number in range(10, 60):
        answered += [number] if process.ask(request(number)) else []
        answered += [number + 100] if other.ask(request(number + 100)) else []
    assert ask_until_answered(house, request(3), 1)[0]
    entries = house.entries()
    assert all(key(number) in entries for number in answered)
    assert len(answered) >= 52
    assert not house.copies()


def test_everything_deleted_under_a_filter(house):
    """Whoever starts afresh without stopping Postfix has no filter left in the deleted files."""
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1))
    shutil.rmtree(house.data)
    house.data.mkdir(mode=0o700)
    assert ask_until_answered(house, request(2), 1)[0]
    time.sleep(berkeley.LOOK_EVERY)
    assert process.ask(request(3)) == b""
    assert "greylist.db.lock was deleted or replaced" in fatal(process)
    assert set(house.entries()) == {key(2)}


def test_dead_generations_take_no_disk(small_disk):
    """However many recoveries a filter outlives, the disk has room for them."""
    house = small_disk
    process = house.filter()
    assert process.ask(request(1))
    for number in range(2, 12):
        mark_dirty(house)
        assert process.ask(request(number))
    space = os.statvfs(house.directory)
    assert (space.f_blocks - space.f_bfree) * space.f_frsize < 24 << 20


def test_a_child_holds_a_commands_lock(tmp_path):
    """When a command is killed in a recovery, the child that recovers still has the lock."""
    path = tmp_path / "lock"
    path.touch()
    reader, writer = os.pipe()
    command = os.fork()
    if command == 0:
        os.close(writer)
        lock = CommandLock(str(path), 5)  # filelock's would be released with the object
        lock.acquire()
        if os.fork() == 0:
            os.read(reader, 1)
        os._exit(0)
    os.waitpid(command, 0)
    with path.open("rb") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.close(writer)
        fcntl.flock(file, fcntl.LOCK_EX)
    os.close(reader)


def children() -> set[str]:
    """Return the pids of this process' children."""
    lists = Path("/proc/self/task").glob("*/children")
    return {pid for line in lists for pid in line.read_text().split()}


@pytest.mark.parametrize("moment", ["fork", "work"])
def test_interrupted_recovery(house, monkeypatch, moment):
    """Whoever is interrupted while its child recovers ends the child before anything else."""
    noted = house.directory / "pid"

    def recover(*_) -> None:
        noted.write_text(str(os.getpid()))
        time.sleep(60)

    def interrupt() -> None:
        while moment == "work" and not (noted.exists() and noted.read_text()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    armed = [moment == "fork"]

    def hook() -> None:
        """Be one of the functions that os.fork calls, in which exceptions go nowhere."""
        if armed and armed.pop():
            interrupt()
            sum(range(1000))  # a handler runs between two bytecodes

    others = children()
    os.register_at_fork(after_in_parent=hook)
    monkeypatch.setattr(recovery, "prepare", recover)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    if moment == "work":
        threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            recovery.recover(house.path, False, False, None)
    finally:
        signal.signal(signal.SIGINT, before)
    assert children() <= others
    if moment == "work":
        with pytest.raises(ProcessLookupError):
            os.kill(int(noted.read_text()), 0)


@pytest.mark.parametrize("what", ["database", "replaced", "environment"])
def test_database_gone_under_a_filter(house, what):
    """A database that is deleted or replaced is noticed within a second; nothing is lost then."""
    process = house.filter()
    assert process.ask(request(1))
    if what == "environment":
        shutil.rmtree(house.path + ".env")
    elif what == "database":
        os.unlink(house.path)
    else:
        shutil.copy(house.path, house.path + ".copy")
        os.rename(house.path + ".copy", house.path)
    time.sleep(berkeley.LOOK_EVERY)
    assert process.ask(request(2))
    assert process.ask(request(3))
    assert process.end() == 0
    assert {key(2), key(3)} <= set(house.entries())
    house.wait_for_repair()
    house.verify()


def test_no_polling(house):
    """A waiter looks for the lock for a moment, and then sleeps until it is free or time is up."""
    ask_until_answered(house, request(1), 1)
    house.configure(lock_timeout="1s")
    with open(house.path + ".lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        trace = house.directory / "trace"
        process = house.filter(("strace", "-f", "-o", str(trace)), arguments=[])
        assert process.ask(request(2)) == b""
        process.end()
    calls = [line.split(maxsplit=1)[1] for line in trace.read_text().splitlines()]
    waits = [number for number, call in enumerate(calls) if "LOCK_EX" in call]
    assert "LOCK_NB" not in calls[waits[-1]]
    assert all("LOCK_NB" in calls[number] for number in waits[:-1])
    assert len(waits) <= 1 + YIELDS + NAPS
    assert calls[waits[-1] + 1].startswith("--- SIGALRM")
