"""The life of an entry: what has passed is stored, and one merge joins two versions."""

from __future__ import annotations

import pytest
from attempts import DAY, NOW, settings
from hypothesis import given
from hypothesis import strategies as st

from greylist import expiry
from greylist.triplet import Triplet

KEY = b"192.0.2.0/a@example.com/b@example.org"
CLIENT = b"/client/192.0.2.0"
SENDER = b"/sender/example.com/a@example.com"
REPLY = b"/reply/a@example.com/b@example.org"


def value(ctime: int, atime: int | str, count: int | str) -> bytes:
    """Return a value: times as seconds before NOW, but for an atime of 0; the count as it is."""
    last = NOW if atime == "now" else atime and NOW - int(atime)
    return b"%d/%d/%s" % (NOW - ctime, last, str(count).encode())


MARKED = [
    (b"100/0/0", None, 0),
    (b"100/200/7", None, 7),
    (b"100/0/00", True, 0),
    (b"100/200/01", True, 1),
    (b"100/200/0120", True, 120),
    (b"100/0/000", False, 0),
    (b"100/200/001", False, 1),
    (b"100/200/0001", None, 1),
    (b"100/200/0000", None, 0),
]


@pytest.mark.parametrize(("text", "passed", "count"), MARKED)
def test_marks(text, passed, count):
    """A zero before the count says that the triplet has passed, two that it still waits."""
    triplet = Triplet.unpack(text)
    assert (triplet.passed, triplet.count) == (passed, count)


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 999),
       st.sampled_from([None, True, False]))  # fmt: skip
def test_a_mark_survives(ctime, atime, count, passed):
    """What is packed reads back; three numbers stand there for whoever knows no marks."""
    packed = Triplet(ctime, atime, count, passed).pack()
    assert list(map(int, packed.split(b"/"))) == [ctime, atime, count]
    if passed is not None:
        assert Triplet.unpack(packed).has_passed(0) == (passed if passed or atime else False)


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (value(400, 0, 0), "waiting"),
        (value(400, 0, "00"), "passed"),
        (value(400, 10, 1), "passed"),
        (value(400, 200, 1), "waiting"),
        (value(400, 399, "01"), "passed"),
        (value(4000, 10, "001"), "waiting"),
        (value(2 * DAY, 0, 0), "waiting"),
        (value(2 * DAY + 1, 0, 0), "expired"),
        (value(2 * DAY + 1, 0, "00"), "passed"),
        (value(3 * DAY, 2 * DAY + 1, "001"), "expired"),
        (value(36 * DAY, 35 * DAY + 1, "01"), "expired"),
        (b"rubbish", "expired"),
    ],
)
def test_state_of_a_triplet(text, state):
    """The mark tells what has passed; without one, an attempt after the delay does."""
    assert expiry.state_of(KEY, text, settings(), NOW) == state


def test_learning_keeps_what_waits():
    """While learning nobody is asked to retry, so what waits is kept for as long as the rest."""
    found = settings(mode="learn")
    assert expiry.state_of(KEY, value(35 * DAY, 0, 0), found, NOW) == "waiting"
    assert expiry.state_of(KEY, value(35 * DAY + 1, 0, 0), found, NOW) == "expired"


@pytest.mark.parametrize("delay", ["0", "1m", "15m", "1d"])
def test_no_later_delay_undoes_a_pass(delay):
    """What has passed has passed, and what still waits has not, whatever delay says today."""
    found = settings(delay=delay)
    assert expiry.state_of(KEY, value(4000, 3600, "01"), found, NOW) == "passed"
    assert expiry.state_of(KEY, value(4000, 3900, "001"), found, NOW) == "waiting"


@pytest.mark.parametrize(
    ("key", "count", "state"),
    [
        (CLIENT, 4, "credited"), (CLIENT, 5, "trusted"), (SENDER, 1, "known"),
        (SENDER, 0, "credited"), (REPLY, 1, "reply"),
    ],
)  # fmt: skip
def test_state_of_a_credit(key, count, state):
    """A credit is worth what the settings say, for max_age after it was last seen."""
    assert expiry.state_of(key, value(90 * DAY, 35 * DAY, count), settings(), NOW) == state
    gone = value(90 * DAY, 35 * DAY + 1, count)
    assert expiry.state_of(key, gone, settings(), NOW) == "expired"


def test_credits_that_are_switched_off():
    """Without auto_whitelist nobody is trusted, without auto_whitelist_senders nobody known."""
    off = settings(auto_whitelist="0", auto_whitelist_senders="0")
    assert expiry.state_of(CLIENT, value(9, 0, 9), off, NOW) == "credited"
    assert expiry.state_of(SENDER, value(9, 0, 9), off, NOW) == "credited"


def test_kept():
    """An entry is kept for as long as it counts."""

    def keep(key, text):
        return expiry.keep(key, text, settings(), NOW)

    # The last second of its life is still one of it.
    assert keep(KEY, value(0, 0, 0)) == 2 * DAY + 1
    assert keep(KEY, value(10, 0, 0)) == 2 * DAY - 9
    assert keep(KEY, value(10, 0, "00")) == 35 * DAY - 9
    assert keep(CLIENT, value(10, 0, 1)) == 35 * DAY - 9
    assert keep(b"/instance/1.2", b"%d" % NOW) == DAY
    assert keep(b"/purge", value(10, 0, 0)) == DAY  # what is no entry, whatever it looks like
    assert keep(KEY, value(3 * DAY, 0, 0)) == 0


def test_stale():
    """What is expired is stale, and what cannot be read; what is not ours to judge is not."""

    def stale(key, text):
        return expiry.Rules(settings()).is_stale(key, text, NOW)

    for key in (KEY, b"/pool/12345678"):
        assert not stale(key, value(10, 0, 0))
        assert stale(key, value(3 * DAY, 0, 0))
        assert stale(key, b"192.0.2.0")
    assert not stale(b"/instance/1", b"%d" % (NOW - DAY))
    assert stale(b"/instance/1", b"%d" % (NOW - DAY - 1))
    assert stale(b"/instance/1", b"x")
    assert not stale(b"/instance/1", b"%020d" % NOW)
    assert stale(b"/instance/1", b"%021d" % NOW)
    assert not stale(b"/purge", b"whatever")
    assert stale(SENDER, value(36 * DAY, 0, 3))


LONE = value(10 * DAY, 0, 0)
FRESH = value(0, 0, 0)


@pytest.mark.parametrize(
    ("one", "other", "result"),
    [
        # What is expired is dropped first.
        (FRESH, LONE, FRESH),
        (FRESH, value(10 * DAY, 10 * DAY - 100, 1), FRESH),
        (FRESH, value(90 * DAY, 40 * DAY, "09"), FRESH),
        (FRESH, value(20 * DAY, 10 * DAY, "03"), value(20 * DAY, "now", "03")),
        # Two that wait are one wait, if the second began within the first one's window.
        (FRESH, value(DAY, 0, 0), value(DAY, "now", "001")),
        (FRESH, value(2 * DAY, 0, 0), value(2 * DAY, "now", "001")),
        (value(400, 300, "001"), value(100, 0, 0), value(400, 100, "001")),
        (value(400, 0, 0), value(400, 0, 0), value(400, 0, 0)),
        (value(400, 50, 3), value(400, 50, 3), value(400, 50, 3)),
        (value(400, 0, 0), value(400, 0, "00"), value(400, 0, "00")),
        (value(400, 300, "001"), value(400, 200, "002"), value(400, 200, "002")),
        # What has passed in either has passed.
        (value(400, 10, "02"), value(900, 600, "01"), value(900, 10, "02")),
        (value(400, 0, 0), value(100, 0, "00"), value(400, 100, "01")),
        (value(400, 90, "01"), value(800, 0, 0), value(800, 90, "01")),
        (value(400, 400, "01"), value(400, 0, 0), value(400, 400, "01")),
        (value(30 * DAY, 20 * DAY, 3), FRESH, value(30 * DAY, "now", "03")),
        (value(900, 0, 0), value(800, 5, 2), value(900, 5, "02")),
        (value(5 * DAY, 5 * DAY - 400, 1), value(4 * DAY, 5, 2), value(5 * DAY, 5, "02")),
        # A clock may be ahead by a day.
        (FRESH, value(-DAY, 0, 0), value(0, -DAY, "001")),
        # What is no value, or none of this world, is dropped.
        (FRESH, b"rubbish", FRESH),
        (FRESH, value(-2 * DAY, 0, 0), FRESH),
    ],
)  # fmt: skip
def test_merge(one, other, result):
    """Both ways round the same, and once is as good as twice."""
    for live, found in ((one, other), (other, one)):
        if live in (b"rubbish", value(-2 * DAY, 0, 0)):
            assert expiry.merge(KEY, found, live, settings(), NOW) == found
        merged = expiry.merge(KEY, found, live, settings(), NOW) or live
        if live != b"rubbish":
            assert merged == (result if live != found else live)
        assert (expiry.merge(KEY, found, merged, settings(), NOW) or merged) == merged


@pytest.mark.parametrize("key", [CLIENT, SENDER, REPLY])
def test_merge_of_credits(key):
    """The older first pass, the newer last one, the larger count hold; no expired credit does."""
    merge = expiry.Rules(settings()).merge
    live, other = value(50 * DAY, DAY, 3), value(40 * DAY, 2 * DAY, 5)
    assert merge(key, other, live, NOW) == value(50 * DAY, DAY, 5)
    assert merge(key, value(120 * DAY, 90 * DAY, 9), live, NOW) is None
    assert merge(key, live, value(120 * DAY, 90 * DAY, 9), NOW) == live
    assert merge(key, live, live, NOW) is None
    assert merge(key, b"rubbish", live, NOW) is None


def test_two_waits_while_learning():
    """Learning keeps what waits for longer, but it is no wait that a much later one ends."""
    found = settings(mode="learn")
    assert expiry.merge(KEY, LONE, FRESH, found, NOW) is None
    assert expiry.merge(KEY, FRESH, LONE, found, NOW) == FRESH
    assert expiry.merge(KEY, value(400, 0, "000"), value(400, 0, 0), found, NOW) is None


def test_merge_without_another_version():
    """What is read somewhere is taken as it is if it can be an entry, expired or not."""
    merge = expiry.Rules(settings()).merge
    assert merge(KEY, LONE, None, NOW) == LONE
    assert merge(KEY, b"rubbish", None, NOW) is None
    assert merge(b"no triplet", FRESH, None, NOW) is None
    assert merge(KEY, value(-2 * DAY, 0, 0), None, NOW) is None
    assert merge(KEY, value(-DAY, 0, 0), None, NOW) == value(-DAY, 0, 0)
    assert merge(b"/instance/1", b"12", None, NOW) == b"12"
    assert merge(b"/instance/1", b"12", b"13", NOW) is None
    assert merge(b"/pool/12345678", FRESH, LONE, NOW) == FRESH


def test_rules_for_another_process():
    """The settings behind the rules are handed on by name and text."""
    rules = expiry.Rules(settings(delay="1h"))
    other = settings(**dict(text.split("=") for text in rules.arguments()))
    assert expiry.Rules(other).arguments() == rules.arguments()
    assert "delay=3600" in rules.arguments()
