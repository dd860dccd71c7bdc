"""Recovery from layouts of the files that once led it astray."""

from __future__ import annotations

import os
from pathlib import Path
from struct import pack

import pytest

from greylist.store.berkeley.environment import home
from greylist.store.berkeley.transaction_log import changes, log_files
from tests.reliability.corruption import DEFER, PASS, mark_dirty
from tests.reliability.harness import ask_until_answered, key, request
from tests.reliability.test_repair import fill

pytest_plugins = ["tests.reliability.fixtures"]


def add_fake_leaf(house, region: str) -> None:
    """Put bytes like those of a leaf page into a region, with a position within a log record.

    An inode number that ends in 0x0501 looks so, and libdb keeps that of the database there. Asked
    for what begins seven bytes into a record, libdb finds its checksum wrong, and panics.
    """
    [log] = log_files(home(house.path))
    file, offset = list(changes(log))[20]
    with open(os.path.join(home(house.path), region), "ab") as region_file:
        region_file.write(pack("=II16sBB", file, offset + 7, bytes(16), 1, 5).ljust(64, b"\0"))


@pytest.mark.parametrize("region", ["__db.001", "__db.003"])
def test_what_looks_like_a_page_in_a_region(house, region):
    """Recovery asks libdb for no position that it has only guessed, and goes on unharmed."""
    fill(house, 100)
    process = house.filter()
    for number in range(200, 250):
        assert process.ask(request(number)) == DEFER
    process.end()
    add_fake_leaf(house, region)
    mark_dirty(house)
    assert ask_until_answered(house, request(1), 1) == (PASS, 1)
    assert not house.copies()
    assert {key(number) for number in [*range(100), *range(200, 250)]} <= set(house.entries())


@pytest.mark.parametrize("between", [1, 300])
def test_shared_memory_of_another_time(house, between):
    """Where a snapshot was rolled back, what the log has counts, and not older shared memory."""
    house.configure(durable="yes")
    process = house.filter()
    for number in range(100):
        assert process.ask(request(number))
    regions = [path for path in Path(home(house.path)).iterdir() if path.name.startswith("__db.")]
    before = {path: path.read_bytes() for path in regions}
    for number in range(100, 100 + between):
        assert process.ask(request(number))
    process.end()
    assert house.recoveries() == 0
    for path, data in before.items():
        with path.open("r+b") as file:
            file.write(data)
    assert ask_until_answered(house, request(10_000), 1)[0]
    assert house.recoveries() == 1
    assert not house.copies()
    assert {key(number) for number in [*range(100 + between), 10_000]} <= set(house.entries())
    house.verify()


def test_joining_is_no_recovery(house):
    """Filters that come one after the other find shared memory as the last one left it."""
    ask_until_answered(house, request(1), 1)
    assert house.recoveries() == 0
    for number in range(20):
        process = house.filter()
        assert process.ask(request(number))
        process.kill() if number % 2 else process.end()
    assert house.recoveries() == 0
