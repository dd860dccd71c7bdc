"""Databases without checksums, as the original makes them: they get them when taken over."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from bsddb3 import db

from greylist.store.berkeley import rebuild
from greylist.store.berkeley.environment import open_database, open_environment
from greylist.store.berkeley.pages import has_checksums
from tests.reliability.corruption import PASS, settle
from tests.reliability.harness import ask_until_answered, key, request

pytest_plugins = ["tests.reliability.fixtures"]

PAGE = 4096


def plain(house, order: int = 1234) -> None:
    """Make a database of 1,000 entries as the original does."""
    database = db.DB()
    database.set_lorder(order)
    database.set_pagesize(PAGE)
    database.open(house.path, dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o600)
    now = int(time.time())
    for number in range(1000):
        database.put(key(number), b"%d/%d/1" % (now - 3600, now - 60))
    database.close()


def adopted_before(house) -> None:
    """Take it over as earlier versions did, with an entry that only its log has."""
    os.mkdir(house.path + ".env", 0o700)
    rebuild._forget_log(house.path)
    environment = open_environment(house.path, durable=False, recover=True)
    database = open_database(environment, house.path)
    transaction = environment.txn_begin()
    now = int(time.time())
    database.put(key(1000), b"%d/%d/1" % (now - 3600, now - 60), transaction)
    transaction.commit()
    environment.log_flush()


@pytest.mark.parametrize("order", [1234, 4321])
@pytest.mark.parametrize("before", [False, True])
def test_checksums_are_added(house, order, before):
    """A database without checksums is written anew with them, and has all entries."""
    plain(house, order)
    if before:
        pid = os.fork()
        if not pid:
            adopted_before(house)
            os._exit(0)
        os.waitpid(pid, 0)
    assert not has_checksums(house.path)
    assert ask_until_answered(house, request(1), 1) == (PASS, 1)
    assert has_checksums(house.path)
    assert not house.copies()
    settle(house)
    assert set(house.entries()) == {key(number) for number in range(1000 + before)}
    house.verify()


@pytest.mark.skipif(not os.path.exists("/usr/bin/strace"), reason="needs strace")
@pytest.mark.parametrize("call", ["rename:signal=KILL:when=1", "fsync:signal=KILL:when=1"])
def test_killed_while_they_are_added(house, call):
    """Whoever dies while checksums are added leaves the database as it was, or with them."""
    plain(house)
    process = house.filter(("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}"))
    process.ask(request(1))
    process.kill()
    assert ask_until_answered(house, request(1), 1) == (PASS, 1)
    assert has_checksums(house.path)
    assert not house.copies()
    assert len(house.entries()) == 1000


def test_torn_page_is_noticed(house):
    """Half of an older page under half of a newer one is no page any more, once it is taken over.

    The page is found damaged, and what can be read of it is salvaged.
    """
    plain(house)
    assert ask_until_answered(house, request(1), 1) == (PASS, 1)
    settle(house)
    before = Path(house.path).read_bytes()
    store = house.store()
    now = int(time.time())

    def shift(entries) -> None:
        for number in range(0, 1000, 2):
            entries.delete(key(number))
        for number in range(5000, 5500):
            entries.put(key(number), b"%d/0/0" % now, 0)

    store.transact(shift)
    store.flush()
    store.close()
    after = bytearray(Path(house.path).read_bytes())
    torn = 0
    for page in range(PAGE, len(before), PAGE):
        if before[page + 25] == after[page + 25] == 5 and before[page:] != after[page:]:
            after[page + PAGE // 2 : page + PAGE] = before[page + PAGE // 2 : page + PAGE]
            torn += 1
            break
    assert torn
    Path(house.path).write_bytes(after)
    record = house.record()
    record.boot = b"another"
    with open(house.path + ".lock", "r+b") as file:
        file.write(record.pack())
    ask_until_answered(house, request(5001), 1)
    house.wait_for_check()
    settle(house)
    assert len(house.copies()) == 1
    entries = house.entries()
    missing = [number for number in range(5000, 5500) if key(number) not in entries]
    assert len(missing) < 30, missing
