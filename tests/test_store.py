"""The store: real processes, real locks, real Berkeley DB files."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import pytest
from bsddb3 import db

from greylist import policy
from greylist.settings import Settings

UPDATES = 500
KEY = b"192.0.2.0/sender@example.com/recipient@example.org"
REQUEST = {
    b"client_address": b"192.0.2.1",
    b"sender": b"sender@example.com",
    b"recipient": b"recipient@example.org",
}
NOW = 1_700_000_000


def attempt(entries):
    return policy.decide(REQUEST, entries, Settings(), NOW)


def in_processes(count, function):
    """Run the function in so many processes at once, and see that each ends well."""
    children = []
    for _ in range(count):
        child = os.fork()
        if child == 0:
            try:
                function()
                os._exit(0)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * count


def test_get_put_delete_after(place):
    """A transaction sees what it and those before it stored, in the order of the keys."""
    store = place.store()

    def first(entries):
        assert entries.get(b"never there") is None
        for key in (b"c", b"a", b"b", b"d"):
            entries.put(key, b"value of " + key, 0)
        entries.delete(b"d")
        entries.delete(b"never there")
        return entries.get(b"b")

    assert store.transact(first) == b"value of b"
    assert store.transact(lambda entries: entries.after(b"a", 10)) == [
        (b"b", b"value of b"),
        (b"c", b"value of c"),
    ]
    assert store.transact(lambda entries: entries.after(b"", 1)) == [(b"a", b"value of a")]
    assert store.transact(lambda entries: entries.after(b"aa", 1)) == [(b"b", b"value of b")]
    store.close()


def test_an_error_undoes_the_transaction(place):
    """What a function stored before it raised is not stored, and the store goes on."""
    store = place.store()

    def fail(entries):
        entries.put(b"a", b"1", 0)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.transact(fail)
    assert store.transact(lambda entries: entries.get(b"a")) is None
    store.close()


def test_four_processes(place):
    """Four processes with 500 updates each of one key: 1,999 attempts after the first."""

    def update():
        store = place.store()
        for _ in range(UPDATES):
            store.transact(attempt)
        store.close()

    in_processes(4, update)
    assert place.entries() == {KEY: b"%d/%d/00%d" % (NOW, NOW, 4 * UPDATES - 1)}


def test_processes_that_never_close(place):
    """A process that ends without closing leaves what it stored."""

    def update():
        store = place.store()
        for _ in range(10):
            store.transact(attempt)

    for _ in range(20):
        in_processes(1, update)
    assert place.entries() == {KEY: b"%d/%d/00199" % (NOW, NOW)}


def test_files_are_private(place):
    """Every file of the database is its owner's alone."""
    place.store().transact(attempt)
    files = [path for path in place.data.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


PERL = """
use DB_File; use Fcntl;
tie %db, 'DB_File', $ARGV[0], O_CREAT|O_RDWR, 0644, $DB_BTREE or die "$!";
$db{"198.51.100.$_/s$_\\@example.com/r\\@example.org"} = "1600000000/1600000300/$_" for 1..5000;
untie %db;
"""


def made_by_perl(path):
    subprocess.run(["perl", "-e", PERL, path], check=True)


def made_by_bsddb3(path):
    database = db.DB()
    database.open(str(path), dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o644)
    for number in range(1, 5001):
        key = b"198.51.100.%d/s%d@example.com/r@example.org" % (number, number)
        database.put(key, b"1600000000/1600000300/%d" % number)
    database.close()


def made_by_bsddb3_in_the_other_byte_order(path):
    database = db.DB()
    database.set_lorder(4321 if sys.byteorder == "little" else 1234)
    database.open(str(path), dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o644)
    for number in range(1, 5001):
        key = b"198.51.100.%d/s%d@example.com/r@example.org" % (number, number)
        database.put(key, b"1600000000/1600000300/%d" % number)
    database.close()


def perl_has_db_file():
    command = ["perl", "-MDB_File", "-e", "1"]
    return shutil.which("perl") and not subprocess.run(command, stderr=-3, check=False).returncode


MAKERS = [made_by_bsddb3, made_by_bsddb3_in_the_other_byte_order]
if perl_has_db_file():
    MAKERS.append(made_by_perl)


@pytest.mark.parametrize("make", MAKERS)
def test_a_database_of_the_original_is_taken_over(place, make):
    """A plain BTree of greylist.pl is used where it is, and nothing in it is lost."""
    make(place.database)
    store = place.store()
    known = {
        b"client_address": b"198.51.100.7",
        b"sender": b"s7@example.com",
        b"recipient": b"r@example.org",
    }
    day = 1_600_086_400
    decision = store.transact(lambda e: policy.decide(known, e, Settings(), day))
    assert decision.reason == "triplet found"
    store.transact(attempt)
    store.close()
    expected = {
        b"198.51.100.%d/s%d@example.com/r@example.org" % (n, n): b"1600000000/1600000300/%d" % n
        for n in range(1, 5001)
    }
    expected[b"198.51.100.7/s7@example.com/r@example.org"] = b"1600000000/%d/08" % day
    expected[KEY] = b"%d/0/0" % NOW
    assert place.entries() == expected
    names = {path.name for path in place.data.iterdir()}
    names -= {"greylist.db.due", "greylist.db.repair"}  # what came without a log is checked
    assert names == {"greylist.db", "greylist.db.env", "greylist.db.lock"}


def test_two_databases_in_one_directory(place):
    """Databases in one directory have nothing to do with each other."""
    one = place.store()
    one.transact(attempt)
    place.database = place.data / "other.db"
    other = place.store()
    assert other.transact(lambda entries: entries.after(b"", 10)) == []
    other.transact(attempt)
    one.transact(attempt)
    one.close()
    other.close()
    assert place.entries() == {KEY: b"%d/0/0" % NOW}
