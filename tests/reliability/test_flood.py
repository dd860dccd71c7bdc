"""A flood of made-up triplets: bounded in the file, still readable, and gone when it is over."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from greylist.triplet import key, whole_key
from tests.reliability.flood import EVERY, KINDS, MOST, flood, size
from tests.reliability.harness import ask_until_answered, request
from tests.reliability.test_hostile import DEFER, PASS, triplet

pytest_plugins = ["tests.reliability.fixtures"]

LONG = b"bounces+%s@mail.example.com" % (b"x" * 450)


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_of_an_attempt(house, kind):
    """Whatever its addresses and its client's name, an attempt takes at most 300 bytes."""
    ask_until_answered(house, request(1), 1)
    empty = size(house)
    flood(house, kind, range(4000), int(time.time()))
    assert size(house) - empty <= 4000 * MOST


def test_room_for_the_next_flood(house):
    """When a flood has expired, the next one has its room: what is new deletes what is old."""
    count = 4000
    now = flood(house, "longest", range(count), int(time.time()), every=3)
    first = size(house)
    quiet = flood(house, "longest", range(2 * count, 2 * count + 72), now, every=3600)
    flood(house, "longest", range(count, 2 * count), quiet, EVERY)
    assert size(house) < first * 1.5


def test_long_addresses_in_the_filter(house):
    """A triplet with long addresses waits and passes like any other, an older version's too."""
    now = int(time.time())
    store = house.store()
    old = whole_key(b"192.0.2.9", LONG, b"b@example.org")
    store.transact(lambda entries: entries.put(old, b"%d/0/0" % (now - 400), 0))
    store.close()
    process = house.filter()
    assert process.ask(triplet(b"192.0.2.1", LONG, b"b@example.org")) == DEFER
    assert process.ask(triplet(b"192.0.2.9", LONG, b"b@example.org")) == PASS
    process.end()
    triplets = {name for name in house.entries() if not name.startswith(b"/")}
    assert triplets == {old, key(b"192.0.2.1", LONG, b"b@example.org")}


def test_long_addresses_in_the_commands(house):
    """A clipped address is shown and chosen by what is left of it, and by the whole of it."""

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "greylist", "--config", str(house.config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout

    ask_until_answered(house, triplet(b"192.0.2.1", LONG, b"b@example.org"), 1)
    ask_until_answered(house, triplet(b"192.0.2.1", LONG + b"2", b"b@example.org"), 1)
    whole = LONG.decode()
    [shown] = [line.split()[1] for line in run("list", whole).splitlines()[1:]]
    assert shown.startswith("bounces+xxx")
    assert shown.endswith("@mail.example.com")
    assert run("list", shown).count("\n") == run("list", whole.upper()).count("\n") == 2
    assert run("list", "*@mail.example.com*").count("\n") == 3
    asked = ("--client-address", "192.0.2.1", "--sender", whole, "--recipient", "b@example.org")
    assert f"192.0.2.1/{shown}/b@example.org" in run("explain", *asked)
    assert run("pass", "--sender", whole).startswith("1 will pass")
    assert run("forget", whole) == "1 forgotten.\n"
    assert run("list").count("\n") == 2
