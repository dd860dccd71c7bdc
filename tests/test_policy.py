"""The rules of greylisting, at any time of the clock."""

from __future__ import annotations

import pytest
from memory import Memory

from greylist import policy
from greylist.screening import screen
from greylist.settings import Settings
from greylist.triplet import Triplet
from greylist.whitelist.lines import Line
from greylist.whitelist.matcher import Patterns

NOW = 1_700_000_000
REQUEST = {
    b"request": b"smtpd_access_policy",
    b"client_address": b"192.0.2.1",
    b"sender": b"Sender@example.com",
    b"recipient": b"recipient@example.org",
}
KEY = b"192.0.2.0/sender@example.com/recipient@example.org"
DEFER = b"defer_if_permit Service is temporarily unavailable"


class Nobody:
    """A whitelist on which nobody is."""

    def match(self, subject, request):
        return None


def decide(entries, now, **changes):
    settings = Settings()
    for name, value in changes.items():
        settings.set(name, value)
    return policy.decide(REQUEST, entries, settings, now)


def test_first_attempt():
    """A new triplet is deferred, and stored with no second attempt."""
    entries = Memory()
    decision = decide(entries, NOW)
    assert (decision.action, decision.verdict, decision.reason) == (DEFER, "greylist", "new")
    assert (decision.age, decision.warning, decision.once) == (0, "", False)
    assert (decision.key, decision.found) == (KEY, b"")
    assert entries.triplets == {KEY: b"%d/0/0" % NOW}


@pytest.mark.parametrize(("age", "missing"), [(0, 300), (1, 299), (299, 1)])
def test_early_retry(age, missing):
    """A triplet younger than the delay is deferred, and its attempts are counted."""
    entries = Memory({KEY: b"%d/0/0" % NOW})
    decision = decide(entries, NOW + age)
    assert (decision.action, decision.verdict) == (DEFER, "greylist")
    assert decision.reason == f"early-retry ({missing}s missing)"
    assert (decision.key, decision.found, decision.age) == (KEY, b"%d/0/0" % NOW, age)
    assert entries.triplets == {KEY: b"%d/%d/001" % (NOW, NOW + age)}


@pytest.mark.parametrize("age", [300, 301, 86400])
def test_retry(age):
    """A triplet as old as the delay passes; the first pass says how long it took."""
    entries = Memory({KEY: b"%d/%d/4" % (NOW, NOW + 10)})
    decision = decide(entries, NOW + age)
    assert (decision.action, decision.verdict) == (b"dunno", "pass")
    assert decision.reason == f"triplet found, delay={age}"
    assert entries.triplets == {KEY: b"%d/%d/05" % (NOW, NOW + age)}


def test_next_mail():
    """A triplet that has passed goes on passing."""
    entries = Memory({KEY: b"%d/%d/1" % (NOW, NOW + 300)})
    decision = decide(entries, NOW + 400)
    assert (decision.action, decision.verdict) == (b"dunno", "pass")
    assert decision.reason == "triplet found"


def test_delay_is_a_setting():
    """The delay is the setting's, and 0 passes the first attempt."""
    assert decide(Memory({KEY: b"%d/0/0" % NOW}), NOW + 60, delay="1m").action == b"dunno"
    assert decide(Memory(), NOW, delay="0").action == b"dunno"


def test_reply_is_a_setting():
    """The text after defer_if_permit is the setting's."""
    decision = decide(Memory(), NOW, reply="Come back later")
    assert decision.action == b"defer_if_permit Come back later"


@pytest.mark.parametrize("value", [b"", b"nonsense", b"0/0/0", b"1/2", b"\xff/0/0"])
def test_bad_value(value):
    """A value that does not parse is named, and the triplet is new."""
    entries = Memory({KEY: value})
    decision = decide(entries, NOW)
    assert decision.action == DEFER
    assert repr(value) in decision.warning
    assert entries.triplets == {KEY: b"%d/0/0" % NOW}


def test_first_attempt_in_the_future():
    """A triplet from a future clock starts afresh: nobody is greylisted for ever."""
    entries = Memory({KEY: b"%d/0/3" % (NOW + 301)})
    decision = decide(entries, NOW)
    assert decision.action == DEFER
    assert "in the future" in decision.warning
    assert entries.triplets == {KEY: b"%d/0/0" % NOW}
    assert decide(entries, NOW + 300).action == b"dunno"


@pytest.mark.parametrize("ahead", [1, 2, 180, 300])
def test_clocks_of_two_hosts(ahead):
    """A first attempt a few minutes in the future is that of a host whose clock is ahead."""
    entries = Memory({KEY: b"%d/0/0" % (NOW + ahead)})
    decision = decide(entries, NOW)
    assert (decision.action, decision.reason) == (DEFER, "early-retry (300s missing)")
    assert decision.warning == ""
    assert entries.triplets == {KEY: b"%d/%d/001" % (NOW + ahead, NOW)}
    assert decide(entries, NOW + ahead + 300).action == b"dunno"


def test_last_attempt_in_the_future():
    """A last attempt from a future clock neither delays nor stays."""
    entries = Memory({KEY: b"%d/%d/1" % (NOW, NOW + 10**8)})
    assert decide(entries, NOW + 300).action == b"dunno"
    assert Triplet.unpack(entries[KEY]).atime == NOW + 300


def test_null_sender():
    """The null sender is greylisted like any other."""
    entries = Memory()
    request = {**REQUEST, b"sender": b""}
    assert screen(request, Settings(), [Nobody()]) is None
    assert policy.decide(request, entries, Settings(), NOW).action == DEFER
    assert list(entries.triplets) == [b"192.0.2.0//recipient@example.org"]
    del request[b"sender"]
    assert policy.decide(request, entries, Settings(), NOW + 300).action == b"dunno"


@pytest.mark.parametrize("name", [b"recipient", b"client_address"])
@pytest.mark.parametrize("request_", [{}, {b"recipient": b"", b"client_address": b""}])
def test_request_without_what_is_needed(name, request_):
    """Without a recipient or a client address the answer is dunno, and a warning."""
    request = dict(REQUEST)
    del request[name]
    if name in request_:
        request[name] = request_[name]
    decision = screen(request, Settings(), [Nobody()])
    assert decision.action == b"dunno"
    assert f"request without {name.decode()}" in decision.warning


WHITE = [Patterns(b"^192\\.0\\.2\\.1/")]


@pytest.mark.parametrize(
    ("changes", "arguments", "reason"),
    [
        ({}, {}, None),
        ({"mode": "off"}, {}, "mode=off"),
        ({"protocol_state": b"VRFY"}, {}, "no delivery"),
        ({"recipient": b""}, {}, "no recipient"),
        ({"client_address": b""}, {}, "no client_address"),
        ({}, {"whitelists": WHITE}, "client whitelist"),
        ({"client_address": b"192.0.2.2"}, {"whitelists": WHITE}, None),
        ({}, {"whitelists": WHITE, "own": True}, None),
        ({}, {"only": WHITE}, None),
        ({"client_address": b"192.0.2.2"}, {"only": WHITE}, "recipient not in greylist_recipients"),
        ({"greylist_clients": "suspicious"}, {}, None),
        ({"greylist_clients": "suspicious", "client_name": b"mx.example.com"}, {},
         "client not suspicious"),
        ({"greylist_clients": "suspicious", "hostname": "mx.example.org",
          "client_name": b"mx.example.com", "helo_name": b"mx.example.org"}, {}, None),
    ],
)  # fmt: skip
def test_what_needs_no_entry(changes, arguments, reason):
    """What is screened passes, and says why."""
    found, what = Settings(), dict(REQUEST)
    for name, value in changes.items():
        if isinstance(value, bytes):
            what[name.encode()] = value
        else:
            found.set(name, value)
    decision = screen(what, found, **{"whitelists": [], **arguments})
    assert (decision and decision.reason) == reason
    if decision:
        assert (decision.action, decision.verdict) == (b"dunno", "pass")
        lacks = reason in ("no recipient", "no client_address")
        assert (decision.age, decision.once, decision.warning != "") == (0, lacks, lacks)


def test_subject():
    """It is in lower case, the sender of a request without one is empty."""
    what = {b"client_address": b"2001:DB8::1", b"recipient": b"B@Example.org"}
    decision = screen(what, Settings(), [Patterns(b"^2001:")])
    assert (decision.key, decision.warning) == (b"2001:db8::1//b@example.org", "")


def test_whitelist_sees_the_full_key():
    """The whitelist is asked about client_address/sender/recipient in lower case."""
    asked = []

    class Everybody:
        def match(self, subject, request):
            asked.append(subject)
            return Line(b"the line")

    decision = screen(REQUEST, Settings(), [Everybody()])
    assert asked == [b"192.0.2.1/sender@example.com/recipient@example.org"]
    assert (decision.action, decision.reason) == (b"dunno", "client whitelist")
    assert decision.found == b"the line"
