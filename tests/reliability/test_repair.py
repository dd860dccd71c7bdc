"""Damage that shows late, databases from elsewhere, and what is salvaged."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from bsddb3 import db

from greylist.store.berkeley import checker, due, quarantine, salvage
from greylist.store.berkeley.environment import home
from tests.berkeley import RULES
from tests.heard import Heard
from tests.reliability.corruption import DEFER, PASS, mark_dirty, settle
from tests.reliability.harness import ask_until_answered, key, request

pytest_plugins = ["tests.reliability.fixtures"]

NOW = 1_700_000_000


def fill(house, count: int = 1000) -> None:
    store = house.store()
    old = int(time.time()) - 1000

    def update(entries) -> None:
        for number in range(count):
            entries.put(key(number), b"%d/%d/1" % (old, old + 600), 0)

    store.transact(update)
    store.close()


def zero_a_leaf(house) -> None:
    """Zero a page on the disk, where it will be read from, as nobody has it in a cache."""
    house.verify()
    shutil.rmtree(home(house.path))
    with open(house.path, "r+b") as file:
        file.seek(4096 * 7)
        file.write(bytes(4096))


def test_hanging_page(house):
    """A page that makes libdb loop is found, the database set aside, the rest salvaged."""
    fill(house)
    zero_a_leaf(house)
    answered = [ask_until_answered(house, request(number), 2)[0] for number in (1, 2, 3)]
    assert set(answered) <= {PASS, DEFER}
    settle(house)
    assert len(house.copies()) == 1
    entries = house.entries()
    assert sum(key(number) in entries for number in range(1000)) > 900


def test_check_finds_what_hangs(house):
    """The check survives a page on which libdb loops, and sets the database aside."""
    fill(house)
    house.verify()
    with open(house.path, "r+b") as file:
        file.seek(4096 * 7)
        file.write(bytes(4096))
    checker.check_database(house.path, Heard(), RULES)
    assert len(house.copies()) == 1
    for copy in quarantine.to_salvage(house.path):
        checker.salvage(house.path, copy, Heard(), RULES)
    entries = house.entries()
    assert sum(key(number) in entries for number in range(1000)) > 900


def test_check_of_a_sound_database(house):
    """A sound database stays where it is, and the log says so."""
    fill(house)
    log = Heard()
    checker.check_database(house.path, log, RULES)
    assert log.lines == [f"check of {house.path}: no damage found"]
    assert not house.copies()
    assert len(house.entries()) == 1000


def test_killed_check(house):
    """Nothing of what a check tries is left when it is killed in the middle."""
    fill(house, 100)
    assert house.recoveries() == 0
    child = os.fork()
    if child == 0:

        def die(entries) -> None:
            with contextlib.suppress(checker._Undo):
                checker._exercise(entries)
            os.kill(os.getpid(), signal.SIGKILL)

        house.store().transact(die)
    os.waitpid(child, 0)
    assert set(house.entries()) == {key(number) for number in range(100)}
    assert house.recoveries() == 1


def test_one_check_in_ten_minutes(house):
    """After a death the database is checked, but not soon after another check."""
    fill(house)
    mark_dirty(house)
    ask_until_answered(house, request(1), 1)
    house.wait_for_check()
    assert not os.path.exists(due.due_path(house.path))
    mark_dirty(house)
    ask_until_answered(house, request(1), 1)
    assert not os.path.exists(due.due_path(house.path))


@pytest.mark.parametrize("order", [1234, 4321])
@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_scan(tmp_path, order, checksum, page_size):
    """Every entry is read from a sound file, whatever machine made it; long keys too."""
    database = db.DB()
    database.set_lorder(order)
    database.set_pagesize(page_size)
    if checksum:
        database.set_flags(db.DB_CHKSUM)
    path = str(tmp_path / "a.db")
    database.open(path, dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    expected = {key(number): b"%d/0/0" % (NOW + number) for number in range(500)}
    expected |= {b"192.0.2.1/%s%d/r" % (b"x" * 1400, number): b"1/0/0" for number in range(20)}
    for one, value in expected.items():
        database.put(one, value)
    database.delete(key(7))
    del expected[key(7)]
    database.close()
    assert dict(salvage.scan(path)) == expected


def filled(path, count: int) -> tuple[bytearray, list[int], dict[bytes, bytes]]:
    """Make a database; return its bytes, where its leaves are, and its entries."""
    database = db.DB()
    database.set_flags(db.DB_CHKSUM)
    database.open(str(path), dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    entries = {key(number): b"%d/0/0" % (NOW + number) for number in range(count)}
    for one, value in entries.items():
        database.put(one, value)
    database.close()
    data = bytearray(path.read_bytes())
    pages = range(0, len(data), 4096)
    return data, [page for page in pages if data[page + 24 : page + 26] == b"\1\5"], entries


def test_scan_of_memory_in_a_page(tmp_path):
    """What libdb leaves of other memory in a page's unused bytes is not taken for its offsets."""
    path = tmp_path / "a.db"
    data, leaves, entries = filled(path, 500)
    assert len(leaves) > 5
    for page in leaves:
        data[page + 26 : page + 32] = data[page + 32 : page + 38]
    path.write_bytes(data)
    assert dict(salvage.scan(str(path))) == entries


def test_scan_of_a_page_with_a_bad_byte(tmp_path):
    """A byte that changed costs the entry it is in, not the others of its page."""
    path = tmp_path / "a.db"
    data, (page,), entries = filled(path, 40)
    for at in range(page + 26, page + 4096):
        damaged = data.copy()
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        assert len(entries.items() - dict(salvage.scan(str(path))).items()) <= 1, at - page


def test_scan_after_deletion(tmp_path):
    """The offsets of what was deleted are not taken for those of what was not."""
    database = db.DB()
    path = str(tmp_path / "a.db")
    database.open(path, dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    for number in (13, 12, 11, 10):
        database.put(key(number), b"%d/0/0" % (NOW + number))
    for number in (13, 12, 11):
        database.delete(key(number))
    database.close()
    assert dict(salvage.scan(path)) == {key(10): b"%d/0/0" % (NOW + 10)}


@pytest.mark.parametrize("page_size", [512, 4096])
def test_scan_of_sparse_pages(tmp_path, page_size):
    """A page with few entries is read as well as a full one."""
    database = db.DB()
    database.set_pagesize(page_size)
    path = str(tmp_path / "a.db")
    database.open(path, dbtype=db.DB_BTREE, flags=db.DB_CREATE)
    expected = {key(number): b"%d/0/0" % (NOW + number) for number in range(30_000)}
    for one, value in expected.items():
        database.put(one, value)
    for number in range(30_000):
        if number % 2:
            database.delete(key(number))
            del expected[key(number)]
    database.close()
    assert dict(salvage.scan(path)) == expected


def test_scan_of_rubbish(tmp_path):
    """Any bytes: entries or none, but no error."""
    import random

    chance = random.Random(1)
    path = tmp_path / "rubbish"
    for _ in range(200):
        data = bytearray(chance.randbytes(3000))
        data[24:26] = b"\x01\x05"
        data[20:24] = chance.choice([b"\x02\x00\x40\x00", bytes(data[20:24])])
        path.write_bytes(data)
        list(salvage.scan(str(path)))


@pytest.mark.parametrize("kind", ["plain", "logged"])
def test_database_without_log(house, kind):
    """A database that comes without its log, the original's or a backup of ours, is served."""
    fill(house)
    house.verify()
    shutil.rmtree(home(house.path))
    os.unlink(house.path + ".lock")
    if kind == "plain":
        os.unlink(house.path)
        database = db.DB()
        database.open(house.path, dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o600)
        for number in range(1000):
            database.put(key(number), b"%d/%d/1" % (time.time() - 3600, time.time() - 60))
        database.close()
    assert ask_until_answered(house, request(1), 1)[0] == PASS
    assert len(house.entries()) == 1000
    assert not house.copies()
    house.wait_for_check()
    house.verify()


@pytest.mark.parametrize("how", ["renamed", "overwritten"])
def test_database_of_another_host(house, tmp_path, how):
    """Another host's database, put in the place of ours with our log there, is served."""
    from tests.reliability.harness import House

    (tmp_path / "other").mkdir()
    other = House(tmp_path / "other")
    fill(other, 3000)
    for _ in range(3):
        fill(other, 3000)
    other.verify()
    fill(house, 10)
    if how == "renamed":
        shutil.copyfile(other.path, house.path + ".new")
        os.rename(house.path + ".new", house.path)
    else:
        shutil.copyfile(other.path, house.path)
    assert ask_until_answered(house, request(2999), 1)[0] == PASS
    entries = house.entries()
    assert all(key(number) in entries for number in range(3000))
    house.wait_for_check()
    house.verify()


def test_copies_are_bounded(house):
    """Of many damaged databases some are kept, and among them the first that has entries."""
    with open(due.repair_path(house.path), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # so that no repair is started meanwhile
        for _ in range(quarantine.COPIES + 3):
            fill(house, 5)
            quarantine.quarantine(house.path, Heard())
        _check_copies(house)


def _check_copies(house) -> None:
    copies = house.copies()
    assert len(copies) == quarantine.COPIES
    assert copies[0] == min(copies)
    waiting = quarantine.to_salvage(house.path)
    for copy in waiting:
        checker.salvage(house.path, copy, Heard(), RULES)
    fill(house, 5)
    newest = quarantine.quarantine(house.path, Heard())
    assert len(house.copies()) == quarantine.COPIES
    assert copies[0] not in house.copies()
    assert newest in house.copies()


def test_salvage_gives_up(house):
    """A copy whose salvage dies is not tried for ever."""
    fill(house, 5)
    copy = quarantine.quarantine(house.path, Heard())
    for _ in range(quarantine.ATTEMPTS):
        assert quarantine.to_salvage(house.path) == [copy]
        quarantine.count_attempt(copy)
    assert quarantine.to_salvage(house.path) == []


def test_salvage_on_a_slow_machine(house, monkeypatch):
    """A salvage that the watchdog ended in the living database is tried again."""

    def bitten(*_) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGALRM)

    fill(house, 5)
    quarantine.quarantine(house.path, Heard())
    due.mark(house.path, due.SALVAGE)
    for _ in range(quarantine.ATTEMPTS + 1):
        with monkeypatch.context() as patch:
            patch.setattr(checker, "salvage", bitten)
            checker.run(house.path, Heard(), RULES)
    checker.run(house.path, Heard(), RULES)
    assert len(house.entries()) == 5


def test_error_does_not_free_handles(house):
    """Handles of a generation that died stay as they are while the filter lives."""
    process = house.filter()
    assert process.ask(request(1))
    assert house.recoveries() == 0
    for number in range(20):
        other = house.filter()
        other.ask(request(number))
        other.kill()
        mark_dirty(house)
        assert process.ask(request(number))
    assert process.end() == 0
    assert house.recoveries() == 20


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_command_that_outlives_a_recovery(house):
    """What a command knows of a generation that died goes nowhere when it ends."""
    fill(house, 12_000)
    trace = house.directory / "trace"
    command = ["strace", "-qq", "-o", trace, "-e", "trace=openat,pwrite64,flock", sys.executable]
    command += ["-m", "greylist", "--config", house.config, "list"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listing:
        assert listing.stdout.readline()  # the rest is more than the pipe and one batch take
        mark_dirty(house)
        process = house.filter()
        assert process.ask(request(1))
        assert process.end() == 0
        assert listing.stdout.read().count(b"example.com") > 11_900
    assert listing.returncode == 0
    before, _, after = trace.read_text().rpartition("LOCK_UN")
    assert before.count("__db.003") == 2  # it has been in two generations
    assert "greylist.db" not in after
