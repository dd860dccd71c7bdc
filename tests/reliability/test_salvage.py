"""Salvage: what the log of a copy has, and whatever comes between."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from pathlib import Path

import pytest

from greylist.store import StoreError
from greylist.store.berkeley import checker, due, quarantine, record
from greylist.store.berkeley.environment import CACHE_REGION, home
from greylist.store.berkeley.transaction_log import additions, log_files
from tests.berkeley import RULES
from tests.heard import Heard
from tests.reliability.corruption import mark_dirty, settle
from tests.reliability.harness import ask_until_answered, key, request
from tests.reliability.test_repair import fill
from tests.reliability.test_trouble import fill as fill_disk

pytest_plugins = ["tests.reliability.fixtures"]


def put(house, numbers, value: bytes) -> None:
    """Store a value under each key, in transactions of their own, which no checkpoint follows."""
    store = house.store()
    store._count = -(10**9)
    for number in numbers:
        store.transact(lambda entries: entries.put(key(number), value, 0))  # noqa: B023
    store.close()


def copy_without_cache(house) -> str:
    """Set the database aside as a power cut leaves it: there was no checkpoint, and no cache is."""
    before = Path(house.path).read_bytes()
    now = int(time.time()) - 1000
    put(house, range(1000, 1400), b"%d/0/0" % now)
    put(house, range(100), b"%d/%d/2" % (now, now + 700))
    Path(house.path).write_bytes(before)
    copy = quarantine.quarantine(house.path, Heard())
    for region in Path(copy).glob("*/*__db.*"):
        region.unlink()
    return copy


def write_record(house, found: record.Record) -> None:
    """Put a record in the place of the one that there is, which others have in memory."""
    with open(house.path + ".lock", "r+b") as file:
        file.write(found.pack())


def checkers(house) -> list[int]:
    """Return the repair processes of this house."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"checker\0" + house.path.encode() in command.read_bytes():
                found.append(int(command.parent.name))
        except OSError:
            pass
    return found


def test_log_is_salvaged(house):
    """What only the log of a copy has is salvaged: new entries, newer values, split pages."""
    fill(house, 1000)
    house.verify()
    copy = copy_without_cache(house)
    checker.salvage(house.path, copy, Heard(), RULES)
    entries = house.entries()
    assert {key(number) for number in range(1400)} == set(entries)
    assert all(entries[key(number)].endswith(b"/2") for number in range(100))


def test_log_of_a_damaged_first_page_is_salvaged(house):
    """A database that is not known any more for what it is has its log all the same."""
    fill(house, 300)
    for region in Path(home(house.path)).glob("__db.*"):
        region.unlink()
    with open(house.path, "r+b") as file:
        file.write(bytes(100))
    mark_dirty(house)
    assert ask_until_answered(house, request(10**6), 1)[0]
    settle(house)
    assert {key(number) for number in range(300)} <= set(house.entries())


def test_cache_of_an_older_time_is_salvaged(house):
    """What the log has is newer, even of a second attempt within the second of the first."""
    now = int(time.time()) - 1000
    put(house, range(10), b"%d/0/0" % now)
    region = Path(home(house.path)) / CACHE_REGION
    before = region.read_bytes()
    put(house, range(10), b"%d/%d/01" % (now, now))
    copy = quarantine.quarantine(house.path, Heard())
    (Path(copy) / region.relative_to(house.data)).write_bytes(before)
    checker.salvage(house.path, copy, Heard(), RULES)
    entries = house.entries()
    assert [entries[key(number)] for number in range(10)] == [b"%d/%d/01" % (now, now)] * 10


def test_page_before_a_split_is_salvaged(house):
    """The log alone has what a page had before it was split, if that page was then torn."""
    fill(house, 60)
    house.verify()
    put(house, range(1000, 1400), b"%d/0/0" % int(time.time()))
    logs = log_files(home(house.path))
    found = {name for log in logs for name, _ in additions(log)}
    assert {key(number) for number in range(60)} <= found


def test_damaged_log_is_salvaged(house):
    """A damage in a log costs the records that it hits, not those that follow."""
    fill(house, 1000)
    house.verify()
    copy = copy_without_cache(house)
    [log] = Path(copy).glob("*/log.*")
    data = bytearray(log.read_bytes())
    end = len(data.rstrip(b"\0"))
    data[end // 2 : end // 2 + 20] = bytes(20)
    log.write_bytes(data)
    checker.salvage(house.path, copy, Heard(), RULES)
    assert len(house.entries()) >= 1398


def test_salvage_that_was_ended_goes_on(house):
    """A salvage that a signal ended is begun again by the next filter that comes."""
    fill(house, 20_000)
    quarantine.quarantine(house.path, Heard())
    due.mark(house.path, due.SALVAGE)
    first = house.filter()
    assert first.ask(request(10**6))
    while not (processes := checkers(house)):
        time.sleep(0.001)
    for process in processes:
        os.kill(process, signal.SIGKILL)
    house.wait_for_repair()
    assert quarantine.to_salvage(house.path)
    assert house.recoveries() == 0
    assert ask_until_answered(house, request(10**6 + 1), 1)[0]
    settle(house)
    assert house.recoveries() == 0
    assert not os.path.exists(due.due_path(house.path))
    assert len(house.entries()) == 20_002


def test_repairs_do_not_pile_up(house):
    """While one repair works no filter starts another one."""
    assert ask_until_answered(house, request(1), 1)[0]
    house.wait_for_repair()
    due.mark(house.path, due.CHECK)
    with open(due.repair_path(house.path), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for number in range(5):
            assert ask_until_answered(house, request(number), 1)[0]
            assert not checkers(house)
    assert ask_until_answered(house, request(6), 1)[0]
    house.wait_for_check()
    assert not os.path.exists(due.due_path(house.path))


def test_mark_made_anew_while_a_repair_works(house):
    """What became due while a repair was at work stays due."""
    assert ask_until_answered(house, request(1), 1)[0]
    due.mark(house.path, due.SALVAGE)
    _, text = due.read(house.path)
    due.mark(house.path, due.CHECK)
    due.mark(house.path, due.SALVAGE)
    due.clear(house.path, text)
    assert due.read(house.path)[0] == due.CHECK


def test_salvage_waits_for_room(small_disk):
    """A salvage leaves the filters their disk, says how much is missing, and goes on later."""
    house = small_disk
    fill(house, 1000)
    quarantine.quarantine(house.path, Heard())
    filler = house.directory / "filler"
    with open(due.repair_path(house.path), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ask_until_answered(house, request(10**6), 1)[0]
        fill_disk(filler, 4 << 20)
    [copy] = quarantine.to_salvage(house.path)
    with pytest.raises(StoreError, match="MiB more have to be free"):
        checker.salvage(house.path, copy, Heard(), RULES)
    checker.run(house.path, Heard(), RULES)
    assert quarantine.to_salvage(house.path) == [copy]
    assert not due.is_now(house.path)
    filler.unlink()
    os.utime(due.due_path(house.path))
    checker.run(house.path, Heard(), RULES)
    assert len(house.entries()) == 1001


def test_directory_that_is_no_copy(house):
    """A directory with the name of a copy that is none stands in nobody's way."""
    fill(house, 5)
    other = Path(f"{house.path}.1234567890")
    other.mkdir()
    (other / "precious").write_text("precious")
    assert house.copies() == []
    # No repair works meanwhile: it would complete the moves that are made without the lock here.
    with open(due.repair_path(house.path), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for _ in range(quarantine.COPIES + 1):
            fill(house, 5)
            quarantine.quarantine(house.path, Heard())
    assert (other / "precious").exists()


def test_salvage_under_a_clock_that_was_set_back(house):
    """Entries are not from the future that were written when the clock was ahead."""
    later = int(time.time()) + 5 * 86400
    put(house, range(10), b"%d/0/0" % later)
    copy = quarantine.quarantine(house.path, Heard())
    for file in Path(copy).rglob("*"):
        os.utime(file, (later, later))
    checker.salvage(house.path, copy, Heard(), RULES)
    assert len(house.entries()) == 10


def test_a_copy_that_goes_unsalvaged_is_named(house):
    """The log has a line when a copy is deleted whose entries nobody has taken."""
    log = Heard()
    with open(due.repair_path(house.path), "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for _ in range(quarantine.COPIES + 1):
            fill(house, 5)
            quarantine.quarantine(house.path, log)
    assert len(log.lines) == 1
    assert "which was not salvaged" in log.lines[0]


def test_check_after_another_boot(house):
    """Whoever finds the record of another boot recovers, and has the database checked."""
    fill(house)
    assert house.recoveries() == 0
    found = house.record()
    found.boot = b"00000000-0000-0000-0000-000000000000"
    write_record(house, found)
    assert ask_until_answered(house, request(1), 1)[0]
    assert house.recoveries() == 1
    house.wait_for_check()


def test_boot_without_an_identity(house, monkeypatch):
    """Where the kernel tells no identity of its boot, the time of the boot stands in for it."""
    monkeypatch.setattr(record, "BOOT_ID", str(house.directory / "nothing"))
    fill(house)
    assert house.recoveries() == 0
    found = house.record()
    since = time.clock_gettime(time.CLOCK_REALTIME) - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert abs(int(found.boot[1:]) - since) < 2
    assert len(house.entries()) == 1000
    assert house.recoveries() == 0
    found.boot = b"@%d" % (since - 100)
    write_record(house, found)
    assert len(house.entries()) == 1000
    assert house.recoveries() >= 1  # the check, which is due now, knows the boot's identity


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [(b"a", b"a", True), (b"a", b"b", False), (b"@100", b"@101", True), (b"@100", b"@200", False),
     (b"@100", b"-", False), (b"@x", b"@y", False)],
)  # fmt: skip
def test_same_boot(one, other, same):
    """Times of a boot may differ by what the clock's rounding makes of them."""
    assert record.same_boot(one, other) is same
