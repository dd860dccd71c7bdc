"""``greylist check`` and ``dump`` read: no byte, time or mode changes, and no file is made."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys

import pytest

from greylist.commands.session import opened
from greylist.store.berkeley.environment import home
from greylist.store.berkeley.record import SIZE, Record

from .mailhost import NOW
from .test_command_check import findings, sound  # noqa: F401 - a fixture

DIE = """
import os, signal, sys
sys.path[:0] = sys.argv[2:]
from berkeley import open_store
def die(entries):
    entries.put(b"192.0.2.0/c@example.com/d@example.org", b"1800000000/0/0", 0)
    os.kill(os.getpid(), signal.SIGKILL)
open_store(sys.argv[1]).transact(die)
"""


def tree(directory):
    """Return each file below a directory: what it is, when it changed, and what is in it."""
    found = {}
    for path in (directory, *sorted(directory.rglob("*"))):
        status = path.lstat()
        facts = (status.st_mode, status.st_uid, status.st_ino, status.st_size, status.st_mtime_ns)
        found[path] = facts, path.read_bytes() if path.is_file() else b""
    return found


def die_inside(host):
    """Have a process be killed in a transaction, as the filter's user."""
    tests = os.path.dirname(os.path.dirname(__file__))
    command = [sys.executable, "-c", DIE, host.database, *filter(None, (tests, *sys.path))]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


def change_record(host, **changes):
    """Write other values into the record."""
    with open(f"{host.database}.lock", "r+b") as file:
        record = Record.unpack(file.read(SIZE))
        for name, value in changes.items():
            setattr(record, name, value)
        file.seek(0)
        file.write(record.pack())


def put_back(host):
    """Put a copy in the database's place, as from a backup."""
    copy = host.database.with_suffix(".copy")
    shutil.copy2(host.database, copy)
    owner = host.database.stat()
    os.rename(copy, host.database)
    os.chown(host.database, owner.st_uid, owner.st_gid)


def tear(host):
    """Leave half a page at the end, as of a full disk."""
    with open(host.database, "ab") as file:
        file.write(b"x" * 100)


STATES = {
    "sound": (lambda _: None, "ok", ": 1 entry in"),
    "half a page": (tear, "ok", ": 1 entry in"),
    "left by a dead filter": (die_inside, "warning", "was left in mid-update by process"),
    "of another boot": (
        lambda host: change_record(host, boot=b"other"),
        "ok",
        "no request has come since this machine started; the next request makes it ready",
    ),
    "from a backup": (put_back, "ok", "it has been put here since the last request"),
    "without its lock file": (
        lambda host: os.unlink(f"{host.database}.lock"),
        "ok",
        "its lock file was lost",
    ),
    "without its shared memory": (
        lambda host: [os.unlink(f) for f in host.database.parent.glob("*.env/__db.*")],
        "ok",
        ": 1 entry in",
    ),
    "never used": (lambda host: shutil.rmtree(home(str(host.database))), "ok", "has been put here"),
}


@pytest.mark.parametrize("state", STATES)
def test_a_look_changes_nothing(sound, state):  # noqa: F811
    """However the database was left, check says so, and leaves it to the next filter."""
    prepare, level, words = STATES[state]
    prepare(sound)
    before = tree(sound.database.parent)
    shown = sound.run("check", "--postfix", sound.path / "postfix").stdout
    assert tree(sound.database.parent) == before
    [line] = [line for line in shown.splitlines() if words in line]
    assert line.startswith(level)


def test_a_dump_changes_nothing(sound):  # noqa: F811
    """A database in use is dumped from a copy; one that a filter left is recovered first."""
    before = tree(sound.database.parent)
    assert "192.0.2.0/a@example.com/b@example.org" in sound.run("dump").stdout
    assert tree(sound.database.parent) == before
    die_inside(sound)
    assert "192.0.2.0/a@example.com/b@example.org" in sound.run("dump").stdout
    assert findings(sound, 0) == []


def test_pages_that_are_only_in_shared_memory(sound):  # noqa: F811
    """What filters have stored since the last checkpoint is in the log, and counted."""
    before = sound.database.read_bytes()
    with opened(sound.settings) as store:
        store.scan(b"", 1)  # of a process's first transaction, a checkpoint may be the end
        for number in range(9):
            key = b"192.0.2.0/s%d@example.com/b@example.org" % number
            store.transact(lambda e, key=key: e.put(key, b"%d/0/0" % NOW, 0))
    assert sound.database.read_bytes() == before
    shown = sound.run("check", "--postfix", sound.path / "postfix").stdout
    assert ": 10 entries in" in shown


def test_a_page_of_zeroes(sound):  # noqa: F811
    """At a page that libdb would loop on for ever, check says that the database is damaged."""
    with open(sound.database, "r+b") as file:
        file.seek(4096)
        file.write(bytes(4096))
    before = tree(sound.database.parent)
    assert "is damaged: page 1 is not one" in findings(sound, 1)[0]
    assert tree(sound.database.parent) == before


def test_no_room_for_a_copy(sound, monkeypatch):  # noqa: F811
    """Where the copy has no room, the entries are not read, and the remedy names another place."""
    monkeypatch.setattr("greylist.store.berkeley.inspection.has_room", lambda _: False)
    [found] = findings(sound, 0)
    assert "were not read: there is no room" in found


def test_a_database_that_is_held(sound, monkeypatch):  # noqa: F811
    """A process that keeps the lock is named."""
    monkeypatch.setattr("greylist.store.berkeley.inspection.PATIENCE", 0.2)
    with open(f"{sound.database}.lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "still locked after" in "".join(findings(sound, 1))
