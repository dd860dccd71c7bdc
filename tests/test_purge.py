"""Purging: what has expired goes, in steps that new entries pay for, whatever the clock does."""

from __future__ import annotations

import pytest
from attempts import DAY, HOUR, NOW, request, settings
from berkeley import open_store
from memory import Memory

from greylist.expiry import Rules, is_stale
from greylist.policy import decide
from greylist.store.berkeley.purge import purge


def stale(name, value):
    return is_stale(name, value, settings(), NOW)


def test_purge_deletes_what_has_expired():
    """What has expired is deleted, with the pool's records and instances; the rest is kept."""
    entries = Memory()
    kept = {
        b"a/passed/x": b"%d/%d/1" % (NOW - 30 * DAY, NOW - 20 * DAY),
        b"a/waiting/x": b"%d/0/0" % (NOW - DAY),
        b"a/future/x": b"%d/0/0" % (NOW + 400 * DAY),
        b"a/seen-in-future/x": b"%d/%d/3" % (NOW - 90 * DAY, NOW + 400 * DAY),
        b"/pool/12345678": b"%d/%d/1" % (NOW - 30 * DAY, NOW - 20 * DAY),
        b"/pool//client/": b"%d/0/0" % (NOW - DAY),
        b"/client/a": b"%d/%d/7" % (NOW - 90 * DAY, NOW - DAY),
        b"/instance/1.2": b"%d" % (NOW - 100),
        b"/purge": b"%d/%d/a" % (NOW, NOW),
        b"/other": b"whatever",
    }
    gone = {
        b"a/late/x": b"%d/0/0" % (NOW - 3 * DAY),
        b"b/old/x": b"%d/%d/5" % (NOW - 90 * DAY, NOW - 36 * DAY),
        b"b/nonsense/x": b"nonsense",
        b"/pool/87654321": b"%d/0/0" % (NOW - 3 * DAY),
        b"/pool//other/1": b"%d/0/0" % (NOW - 3 * DAY),
        b"/pool/example.com/of version 0.1/x": b"192.0.2.0",
        b"/client/b": b"%d/%d/7" % (NOW - 90 * DAY, NOW - 36 * DAY),
        b"/instance/1.1": b"%d" % (NOW - 2 * DAY),
        b"/instance/1.3": b"nonsense",
        b"/instance/1.4": b"9" * 9999,
    }
    entries.update(kept)
    entries.update(gone)
    assert purge(entries, b"", 100, stale) == (b"", len(gone), len(kept))
    assert entries == kept


def test_purge_in_steps():
    """Steps of any size go through all entries, whatever is deleted under way."""
    entries = Memory()
    for number in range(100):
        old = 3 * DAY if number % 3 else 0
        entries[b"%03d/a/b" % number] = b"%d/0/0" % (NOW - old)
    position, steps, deleted = b"", 0, 0
    while True:
        position, count, _ = purge(entries, position, 7, stale)
        steps += 1
        deleted += count
        if not position:
            break
    assert deleted == 66
    assert len(entries) == 34
    assert steps == 15


class Traffic:
    """Requests at any time of the clock, decided in a real database."""

    def __init__(self, directory):
        self.now = NOW
        self.rules = Rules(settings())
        path = str(directory / "greylist.db")
        self.store = open_store(path, rules=self.rules, clock=lambda: self.now)

    def put(self, values):
        self.store.transact(lambda entries: [entries.put(*item, 0) for item in values.items()])

    def all(self):
        found = dict(self.store.transact(lambda entries: entries.after(b"", 1_000_000)))
        return {name: value for name, value in found.items() if name != b"/purge"}

    def old(self):
        """Return how many of the entries are left that a test put there as old ones."""
        return sum(name.startswith(b"10.0.") for name in self.all())

    def __call__(self, start, seconds, step=20, **values):
        """Make new triplets, one every few seconds."""
        self.rules.settings = settings(normalize_sender="no", **values)
        for at in range(start, start + seconds, step):
            self.now = NOW + at
            sender = b"u%x@example.com" % (at * 7919)
            what = request(b"192.0.2.1", b"mail.example.com", sender)
            self.store.transact(
                lambda entries, what=what: decide(what, entries, self.rules.settings, self.now)
            )


@pytest.fixture
def traffic(tmp_path):
    tmp_path.chmod(0o700)
    traffic = Traffic(tmp_path)
    yield traffic
    traffic.store.close()


OLD = {b"10.0.%d.0/a/b" % number: b"%d/0/0" % (NOW - 3 * DAY) for number in range(50)}


def test_size_follows_the_traffic(traffic):
    """New triplets pay for the purging: with even traffic, the database stops growing."""
    window = 6 * HOUR
    sizes = []
    for part in range(8):
        traffic(part * window, window, retry_window="6h")
        sizes.append(len(traffic.all()))
    fresh = 2 * window // 20
    assert max(sizes[3:]) < 1.6 * fresh
    assert abs(sizes[-1] - sizes[-2]) < fresh // 4


def test_old_entries_go_in_slow_traffic(traffic):
    """A few new triplets a day are enough for the old ones to go."""
    traffic.put(OLD)
    traffic(0, 3 * DAY, step=DAY // 4)
    assert not traffic.old()


def test_short_window_in_slow_traffic(traffic):
    """Where a triplet expires before the next one comes, the old ones go all the same."""
    traffic(0, 10 * DAY, step=DAY // 96, retry_window="10m")
    assert len(traffic.all()) < 100


def test_clock_that_jumps_ahead(traffic):
    """An hour under a clock that has jumped ahead, be it by years, purges nothing."""
    traffic.put(dict.fromkeys(OLD, b"%d/%d/3" % (NOW - DAY, NOW)))
    traffic(0, 2 * HOUR)
    traffic(4000 * DAY, HOUR - 20)
    traffic(3 * HOUR, 2 * HOUR)
    assert traffic.old() == 50


def test_clock_that_goes_back(traffic):
    """After the clock has gone back, purging goes on within an hour: it is never stuck."""
    traffic(4000 * DAY, 2 * HOUR)
    traffic.put(OLD)
    traffic(0, 6 * HOUR)
    assert not traffic.old()


def test_clocks_a_little_apart(traffic):
    """Filters that read the clock in another order than they get the lock stop no purging."""
    traffic.put(OLD)
    for at in range(0, 3 * HOUR, 20):
        traffic(at + 2, 1)
        traffic(at, 1)
    assert not traffic.old()


@pytest.mark.parametrize(
    "value", [b"", b"x", b"1", b"1/2", b"/2/3", b"-1/5/x", b"\xff/\xff/\xff", b"9" * 9999 + b"/1/x"]
)
def test_purge_position_of_no_use(traffic, value):
    """A record of the purging that does not parse is begun anew."""
    traffic.put({b"/purge": value, **OLD})
    traffic(0, 3 * HOUR)
    assert not traffic.old()


def test_the_database_follows_traffic_with_names(traffic):
    """With a pool's entry for each triplet, new ones pay for both: a fifth is stale at most."""
    window = HOUR // 2
    traffic(0, 5 * window, step=1, retry_window="30m")
    assert len(traffic.all()) < 1.25 * 2 * window
    assert traffic.store.count(10**9) < 1.3 * 2 * window


def test_entries_are_counted(traffic):
    """Each round counts the entries that stay; it is about right while they come."""
    assert traffic.store.count(10**9) == 0
    traffic(0, 20_000, step=20)
    there = len(traffic.all())
    assert 0.7 * there < traffic.store.count(10**9) <= 1.05 * there


def test_too_many_entries_are_looked_through(traffic):
    """Beyond the bound each count looks for what has expired, as nothing new is stored."""
    traffic(0, 20_000, step=20, retry_window="2d")
    before = len(traffic.all())
    traffic.now += 3 * DAY - HOUR
    traffic(20_000 + DAY, 2 * HOUR, step=20, retry_window="2d")
    traffic.rules.settings = settings(retry_window="1h")
    for _ in range(20):
        traffic.store.count(1)
        traffic.now += 1
    assert len(traffic.all()) < before
    assert traffic.store.count(10**9) == pytest.approx(len(traffic.all()), abs=5)
