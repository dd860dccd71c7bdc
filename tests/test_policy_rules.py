"""Networks, pools, trust, expiry, modes, and what the other side sees."""

from __future__ import annotations

import hypothesis
import pytest
from attempts import DAY, HOUR, NOW, UNKNOWN, request, settings, verdicts
from hypothesis import given
from hypothesis import strategies as st
from memory import Memory

from greylist import __version__
from greylist.expiry import state_of
from greylist.policy import decide
from greylist.screening import screen
from greylist.settings import SettingsError
from greylist.triplet import Triplet, pool_key

# Networks


def test_neighbour():
    """A retry from the same network is a retry, and is stored under the network's address."""
    entries = Memory()
    steps = [(0, request(b"192.0.2.1")), (400, request(b"192.0.2.250"))]
    assert verdicts(steps, entries) == ["new", "triplet found, delay=400"]
    assert list(entries.triplets) == [b"192.0.2.0/a@example.com/b@example.org"]


def test_a_triplet_of_the_original_without_a_sender():
    """A request that names no sender is the null sender's."""
    entries = Memory({b"192.0.2.1//b@example.org": b"%d/%d/3" % (NOW - DAY, NOW - 9000)})
    what = request()
    del what[b"sender"]
    assert verdicts([(0, what)], entries) == ["triplet found"]


def test_exact():
    """With a prefix of 32 it is another client's first attempt."""
    steps = [(0, request(b"192.0.2.1")), (400, request(b"192.0.2.250"))]
    assert verdicts(steps, ipv4_prefix="32") == ["new", "new"]


def test_a_triplet_of_the_original():
    """A triplet that greylist.pl stored, by exact address and sender, is used where it is."""
    name = b"192.0.2.7/list-1234@example.com/b@example.org"
    entries = Memory({name: b"%d/%d/3" % (NOW - DAY, NOW - HOUR)})
    what = request(b"192.0.2.7", b"mail.example.com", b"List-1234@example.com")
    assert verdicts([(0, what)], entries) == ["triplet found"]
    assert entries == {name: b"%d/%d/04" % (NOW - DAY, NOW)}


def test_a_triplet_of_the_original_that_is_too_old():
    """One that has expired is of no use, and the triplet is new under our key."""
    name = b"192.0.2.7/a@example.com/b@example.org"
    entries = Memory({name: b"%d/%d/3" % (NOW - 90 * DAY, NOW - 40 * DAY)})
    assert verdicts([(0, request(b"192.0.2.7"))], entries) == ["new"]
    assert b"192.0.2.0/a@example.com/b@example.org" in entries


def test_mapped():
    """An IPv4 client that comes by an IPv6 socket is the same client."""
    steps = [(0, request(b"192.0.2.1")), (400, request(b"::ffff:192.0.2.1"))]
    assert verdicts(steps)[1] == "triplet found, delay=400"


def test_unknown_address():
    """A client whose address is no address is greylisted by what is there instead."""
    entries = Memory()
    assert verdicts([(0, request(b"unknown"))], entries) == ["new"]
    assert list(entries.triplets) == [b"unknown/a@example.com/b@example.org"]


def test_no_request_can_forge_an_entry():
    """A client that is a path of ours is escaped: only our own entries' keys start with a slash."""
    entries = Memory()
    decide(request(b"/client/192.0.2.0"), entries, settings(), NOW)
    assert list(entries.triplets) == [b"%2fclient%2f192.0.2.0/a@example.com/b@example.org"]


# Pools

FIRST = request(b"198.51.100.1", b"mail-a1.google.com")
SECOND = request(b"203.0.113.9", b"mail-b7.google.com")
THIRD = request(b"192.0.2.9", b"mail-c9.google.com")
POOLED = pool_key(b"google.com", b"a@example.com", b"b@example.org")


def test_retry_from_elsewhere_in_the_pool():
    """A retry from another network of the same organisation passes, whatever the networks."""
    steps = [(0, FIRST), (100, SECOND), (400, THIRD), (500, SECOND), (501, FIRST)]
    assert verdicts(steps, auto_whitelist_senders="0") == [
        "new",
        "early-retry (200s missing), pool=google.com",
        "triplet found, delay=400, pool=google.com",
        "triplet found, pool=google.com",
        "triplet found, pool=google.com",
    ]


def test_cost_of_a_pool():
    """A new triplet costs one small record more, its retries from elsewhere none."""
    entries = Memory()
    verdicts([(0, FIRST)], entries)
    extra = {name: value for name, value in entries.items() if name.startswith(b"/pool/")}
    assert extra == {POOLED: b"%d/0/0" % NOW}
    before = set(entries)
    verdicts([(400, SECOND)], entries, auto_whitelist="0", auto_whitelist_senders="0")
    assert set(entries) == before


def test_writes_of_a_pool():
    """Its record is written when a triplet begins, when it passes, and once a day then."""
    entries, written = Memory(), []
    for at in (0, 100, 400, 500, HOUR, DAY, DAY + HOUR):
        before = entries.get(POOLED)
        verdicts([(at, FIRST)], entries, auto_whitelist="0", auto_whitelist_senders="0")
        if entries[POOLED] != before:
            written.append(at)
    assert written == [0, 400, DAY]


@pytest.mark.parametrize(
    "other",
    [
        request(b"203.0.113.9", b"mail.example.net"),
        request(b"203.0.113.9", UNKNOWN),
        request(b"203.0.113.9", b"mail-b7.google.com", b"other@example.com"),
        request(b"203.0.113.9", b"mail-b7.google.com", recipient=b"other@example.org"),
        request(b"203.0.113.9", b"dynamic-7.google.com"),
        request(b"203.0.113.9", b"113-9.google.com"),
    ],
)
def test_not_of_the_pool(other):
    """Another domain, sender or recipient, an unverified or a customer's name is no retry."""
    assert verdicts([(0, FIRST), (400, other)]) == ["new", "new"]


def test_unverified_first():
    """A first attempt without a verified name is found by its network alone."""
    first = request(b"198.51.100.1", UNKNOWN)
    assert verdicts([(0, first), (400, SECOND)]) == ["new", "new"]


def test_pool_off():
    """With pool = off, clients are networks and nothing else, and no record is kept."""
    entries = Memory()
    assert verdicts([(0, FIRST), (400, SECOND)], entries, pool="off") == ["new", "new"]
    assert not any(name.startswith(b"/pool/") for name in entries)


def test_pool_domain():
    """With pool = domain, the organisation is the client."""
    entries = Memory()
    steps = [(0, FIRST), (400, SECOND)]
    assert verdicts(steps, entries, pool="domain") == ["new", "triplet found, delay=400"]
    assert list(entries.triplets) == [b"google.com/a@example.com/b@example.org"]
    assert not any(name.startswith(b"/pool/") for name in entries)


def test_pool_after_expiry():
    """A pool's triplet that has expired is of no use; the next attempt begins the pool's anew."""
    entries = Memory()
    late = 3 * DAY
    steps = [(0, FIRST), (late, SECOND), (late + 400, THIRD)]
    assert verdicts(steps, entries)[1:] == ["new", "triplet found, delay=400, pool=google.com"]
    assert entries[POOLED] == b"%d/%d/01" % (NOW + late, NOW + late + 400)


@pytest.mark.parametrize("value", [b"nonsense", b"198.51.100.0"])
def test_pool_of_no_use(value):
    """A pool's entry that is no triplet is overwritten."""
    entries = Memory()
    entries[POOLED] = value
    assert verdicts([(0, SECOND), (400, THIRD)], entries)[1].startswith("triplet found, delay=400")


def test_pool_hears_of_a_pass():
    """What has passed from one network of a domain passes from the others while it is used."""
    entries = Memory()
    days = [(day * DAY, FIRST) for day in range(1, 40)]
    steps = [(0, FIRST), (400, FIRST), (401, SECOND), *days, (40 * DAY, THIRD)]
    found = verdicts(steps, entries, auto_whitelist="0", auto_whitelist_senders="0")
    assert found[1:3] == ["triplet found, delay=400", "triplet found, pool=google.com"]
    assert found[-1] == "triplet found, pool=google.com"


# Expiry


@pytest.mark.parametrize(("at", "reason"), [
    (2 * DAY, f"triplet found, delay={2 * DAY}"),
    (2 * DAY + 1, "new"),
])  # fmt: skip
def test_retry_window(at, reason):
    """A triplet that is not retried within the retry window starts afresh."""
    entries = Memory()
    assert verdicts([(0, request()), (at, request())], entries)[1] == reason
    count = 0 if reason == "new" else 1
    assert Triplet.unpack(entries[b"192.0.2.0/a@example.com/b@example.org"]).count == count


@pytest.mark.parametrize(("at", "reason"), [
    (35 * DAY, "triplet found"),
    (35 * DAY + 1, "new"),
])  # fmt: skip
def test_max_age(at, reason):
    """A triplet that has passed is remembered for max_age since it was last seen."""
    steps = [(0, request()), (400, request()), (400 + at, request())]
    off = {"auto_whitelist": "0", "auto_whitelist_senders": "0"}
    assert verdicts(steps, **off)[2] == reason


def test_states():
    """Each entry is waiting, passed, expired, trusted or other."""
    found = settings()

    def state(name, *values):
        return state_of(name, b"%d/%d/%d" % values, found, NOW)

    name = b"192.0.2.0/a@example.com/b@example.org"
    assert state(name, NOW, 0, 0) == "waiting"
    assert state(name, NOW - 299, NOW, 1) == "waiting"
    assert state(name, NOW - 300, NOW, 1) == "passed"
    assert state(name, NOW - 400, 0, 0) == "waiting"
    assert state(name, NOW - 2 * DAY - 1, 0, 0) == "expired"
    assert state(name, NOW - 40 * DAY, NOW - 35 * DAY, 1) == "passed"
    assert state(name, NOW - 40 * DAY, NOW - 35 * DAY - 1, 1) == "expired"
    assert state(name, NOW + DAY, 0, 0) == "waiting"
    assert state(b"/client/192.0.2.0", NOW - 400, NOW, 4) == "credited"
    assert state(b"/client/192.0.2.0", NOW - 400, NOW, 5) == "trusted"
    assert state(b"/client/192.0.2.0", NOW - 40 * DAY, NOW - 36 * DAY, 5) == "expired"
    assert state_of(name, b"nonsense", found, NOW) == "expired"
    assert state_of(b"/purge", b"1/2/x", found, NOW) == "other"
    assert state_of(b"/pool/google.com/a/b", b"192.0.2.0", found, NOW) == "other"
    off = settings(auto_whitelist="0")
    assert state_of(b"/client/192.0.2.0", b"%d/0/9" % NOW, off, NOW) == "credited"


def test_last_attempt_in_the_future():
    """A last attempt from a future clock heals at the next attempt."""
    name = b"192.0.2.0/a@example.com/b@example.org"
    entries = Memory({name: b"%d/%d/3" % (NOW - DAY, NOW + 900 * DAY)})
    assert verdicts([(0, request())], entries) == ["triplet found"]
    assert entries[name] == b"%d/%d/04" % (NOW - DAY, NOW)


@pytest.mark.parametrize(("mode", "kept"), [("greylist", 2 * DAY), ("learn", 35 * DAY)])
def test_how_long_entries_are_kept(mode, kept):
    """A store keeps what waits for the retry window, all else for max_age."""
    kept_for = []

    class Keeping(Memory):
        def put(self, key, value, keep):
            super().put(key, value, keep)
            kept_for.append(keep)

    entries = Keeping()
    verdicts([(0, request())], entries, mode=mode)
    assert kept_for == [kept]
    verdicts([(400, request())], entries, mode=mode)
    assert set(kept_for[1:]) == {35 * DAY}


# Trust


def passes(entries, count, every, start=0, **values):
    """Let that many triplets pass, one after the other; return the reason for one more."""
    at = start
    for number in range(count):
        what = request(sender=b"u%c@example.com" % (97 + number))
        verdicts([(at, what), (at + 400, what)], entries, **values)
        at += every
    return verdicts([(at, request(sender=b"new@example.com"))], entries, **values)[0]


def test_auto_whitelist():
    """A client is trusted once five of its triplets have passed in five different hours."""
    assert passes(Memory(), 4, HOUR) == "new"
    assert passes(Memory(), 5, HOUR) == "client AWL"
    assert passes(Memory(), 3, HOUR, auto_whitelist="3") == "client AWL"


def test_a_burst_counts_once():
    """Triplets that pass within an hour count as one."""
    assert passes(Memory(), 20, 100) == "new"


def test_auto_whitelist_off():
    """With 0 nobody is trusted, and nothing is counted."""
    entries = Memory()
    assert passes(entries, 10, HOUR, auto_whitelist="0") == "new"
    assert b"/client/192.0.2.0" not in entries


def test_the_same_triplet_counts_once():
    """A triplet that passes again and again is one triplet."""
    entries = Memory()
    what = request()
    verdicts([(at * HOUR, what) for at in range(20)], entries)
    assert entries[b"/client/192.0.2.0"].endswith(b"/1")


def test_trust_writes_once_an_hour():
    """A trusted client costs no write, but for the hourly note of when it was last seen."""
    name = b"/client/192.0.2.0"
    entries = Memory({name: b"%d/%d/5" % (NOW - DAY, NOW)})

    def refuse(*_):
        raise AssertionError("a write")

    entries.put = refuse
    decision = decide(request(), entries, settings(), NOW + HOUR - 1)
    assert (decision.reason, decision.action) == ("client AWL", b"dunno")
    assert (decision.key, decision.stored) == (name, b"")
    assert decision.found == entries[name]
    del entries.put
    decision = decide(request(), entries, settings(), NOW + HOUR)
    assert entries == {name: b"%d/%d/6" % (NOW - DAY, NOW + HOUR)}
    assert decision.stored == entries[name]


def test_trust_expires():
    """A trusted client that was not seen for max_age has to earn it anew."""
    name = b"/client/192.0.2.0"
    entries = Memory({name: b"%d/%d/9" % (NOW - 90 * DAY, NOW)})
    assert verdicts([(35 * DAY, request())], Memory(entries)) == ["client AWL"]
    late = 35 * DAY + 1
    assert verdicts([(late, request()), (late + 400, request())], entries)[0] == "new"
    assert entries[name] == b"%d/0/1" % (NOW + late + 400)


def test_trust_from_the_future_heals():
    """A client last seen by a future clock is trusted, and its time set right."""
    name = b"/client/192.0.2.0"
    entries = Memory({name: b"%d/%d/5" % (NOW - DAY, NOW + 900 * DAY)})
    assert verdicts([(0, request())], entries) == ["client AWL"]
    assert entries[name] == b"%d/%d/6" % (NOW - DAY, NOW)


def test_trust_that_does_not_parse():
    """A client's entry that does not parse is begun anew."""
    entries = Memory({b"/client/192.0.2.0": b"nonsense"})
    assert verdicts([(0, request()), (400, request())], entries)[0] == "new"
    assert entries[b"/client/192.0.2.0"] == b"%d/0/1" % (NOW + 400)


# Sender


def test_next_number_of_a_list():
    """A mailing list's next bounce address is the same sender, unless that is switched off."""
    one = request(sender=b"list-return-17-bob=x@lists.example")
    two = request(sender=b"list-return-18-bob=x@lists.example")
    assert verdicts([(0, one), (400, two)])[1] == "triplet found, delay=400"
    assert verdicts([(0, one), (400, two)], normalize_sender="no")[1] == "new"


# What the other side sees


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("Come back", b"defer_if_permit Come back"),
        ("in %s s", b"defer_if_permit in 200 s"),
        ("see http://%r/?%c", b"defer_if_permit see http://example.org/?192.0.2.1"),
        ("%s %s 100% %x", b"defer_if_permit 200 200 100% %x"),
        ("4.3.2 wait", b"defer_if_permit 4.3.2 wait"),
    ],
)
def test_reply(reply, expected):
    """The text tells the seconds left, the recipient's domain and the client's address."""
    entries = Memory()
    found = settings(reply=reply)
    decide(request(), entries, found, NOW)
    assert decide(request(), entries, found, NOW + 100).action == expected


@pytest.mark.parametrize(
    ("recipient", "domain"),
    [
        (b"b@%s%r%c", b"%s%r%c"),
        (b"b", b"b"),
        (b"b@x\r\ny\0\xff", b"x??y??"),
        (b'"a@b"@example.org', b"example.org"),
    ],
)
def test_reply_with_a_hostile_recipient(recipient, domain):
    """Nothing that a client can choose is expanded, or leaves its line."""
    decision = decide(request(recipient=recipient), Memory(), settings(reply="%r"), NOW)
    assert decision.action == b"defer_if_permit " + domain


@pytest.mark.parametrize(
    ("state", "reply", "expected"),
    [
        (b"RCPT", "wait", b"defer_if_permit 4.2.0 wait"),
        (b"RCPT", "4.7.1 wait", b"defer_if_permit 4.7.1 wait"),
        (b"RCPT", "%s to wait", b"defer_if_permit 4.2.0 300 to wait"),
        (b"DATA", "wait", b"defer_if_permit wait"),
    ],
)
def test_status_code(state, reply, expected):
    """At RCPT TO of a Postfix that knows status codes, a text without one gets 4.2.0."""
    what = request(protocol_state=state, etrn_domain=b"")
    assert decide(what, Memory(), settings(reply=reply), NOW).action == expected


@pytest.mark.parametrize("action", ["defer_if_permit", "DEFER", "451"])
def test_action(action):
    """The action is a setting, as in postgrey."""
    decision = decide(request(), Memory(), settings(action=action, reply="wait"), NOW)
    assert decision.action == action.lower().encode() + b" wait"


HEADER = b"PREPEND X-Greylist: delayed 400 seconds by greylist-%s at mx.example.org; %s"
STAMP = b"Mon, 21 Sep 2026 14:20:00 +0000"


def test_header():
    """The first pass of a message adds a header; later ones do not."""
    entries = Memory()
    found = settings(header="yes", hostname="mx.example.org")
    what = request(instance=b"1.2.3")
    decide(what, entries, found, NOW)
    decision = decide(what, entries, found, NOW + 400)
    assert decision.action == HEADER % (__version__.encode(), STAMP)
    assert decision.reason == "triplet found, delay=400"
    later = request(instance=b"1.2.4")
    assert decide(later, entries, found, NOW + 500).action == b"dunno"


def test_header_text():
    """The header is a text of one's own, with postgrey's words for what changes."""
    entries = Memory()
    text = "X-Wait: %t s at %h, 100 % sure"
    found = settings(header="yes", header_text=text, hostname="mx%t.example.org")
    decide(request(), entries, found, NOW)
    action = decide(request(), entries, found, NOW + 400).action
    assert action == b"PREPEND X-Wait: 400 s at mx%t.example.org, 100 % sure"


def test_header_once_a_message():
    """A message with many recipients gets one header, another message its own."""
    entries = Memory()
    found = settings(header="yes")
    rcpt = [request(recipient=b"r%d@example.org" % n, instance=b"1.2") for n in range(50)]
    other = request(recipient=b"other@example.org", instance=b"1.3")
    for what in [*rcpt, other]:
        decide(what, entries, found, NOW)
    actions = [decide(what, entries, found, NOW + 400).action for what in [*rcpt, other]]
    assert [action.startswith(b"PREPEND") for action in actions] == [True, *[False] * 49, True]
    assert entries[b"/instance/1.2"] == entries[b"/instance/1.3"] == b"%d" % (NOW + 400)


def test_header_without_instance():
    """Where the mail server tells no instance, each recipient may add a header."""
    entries = Memory()
    found = settings(header="yes")
    decide(request(), entries, found, NOW)
    assert decide(request(), entries, found, NOW + 400).action.startswith(b"PREPEND")


def test_no_header_after_the_content():
    """At END-OF-MESSAGE it is too late for a header."""
    entries = Memory()
    found = settings(header="yes")
    what = request(protocol_state=b"END-OF-MESSAGE", instance=b"1.2")
    decide(what, entries, found, NOW)
    assert decide(what, entries, found, NOW + 400).action == b"dunno"


# Modes


def test_learn():
    """Learning, everything is let through, and logged as if it were not."""
    learning, strict = Memory(), Memory()
    for at in (0, 10, 400, 500):
        decision = decide(request(), learning, settings(mode="learn", header="yes"), NOW + at)
        would = decide(request(), strict, settings(header="yes"), NOW + at)
        assert decision.action == b"dunno"
        assert decision.verdict == would.verdict
        assert decision.reason == would.reason + ", mode=learn"
    assert learning.keys() == strict.keys()


def test_learning_knows_a_pass():
    """Who has come back after the delay while learning would have passed from then on."""
    steps = [(at, request()) for at in (0, 300, 400)]
    assert verdicts(steps, mode="learn", auto_whitelist_senders="0") == [
        "new, mode=learn",
        "triplet found, delay=300, mode=learn",
        "triplet found, mode=learn",
    ]


def test_learning_takes_weeks():
    """Who writes once a week is known after learning, though nobody was asked to retry."""
    entries = Memory()
    for week in range(4):
        decide(request(), entries, settings(mode="learn"), NOW + week * 7 * DAY)
    decision = decide(request(), entries, settings(), NOW + 28 * DAY)
    assert (decision.verdict, decision.reason) == ("pass", "known sender")


def test_learnt_at_the_first_mail():
    """What was let through once while learning has passed, and earns no trust by it."""
    entries = Memory()
    decide(request(), entries, settings(mode="learn"), NOW)
    assert list(entries) == [b"192.0.2.0/a@example.com/b@example.org"]
    assert verdicts([(10 * DAY, request())], entries) == ["triplet found"]


def test_off():
    """Switched off, everything is let through, and no whitelist or entry is looked at."""
    decision = screen(request(), settings(mode="off"), [None])
    assert (decision.action, decision.reason) == (b"dunno", "mode=off")


# Any bytes

VALUES = st.one_of(
    st.binary(max_size=30),
    st.builds(b"%d/%d/%d".__mod__, st.tuples(*[st.integers(0, 3 * 10**9)] * 3)),
)


class Anything(Memory):
    """Entries that may be anything."""

    def __init__(self, data) -> None:
        super().__init__()
        self._data = data

    def get(self, key):
        """Return what was stored, or else anything."""
        if key not in self and self._data.draw(st.booleans()):
            self[key] = self._data.draw(VALUES)
        return super().get(key)


@hypothesis.settings(deadline=None)
@given(st.data())
def test_any_bytes(data):
    """Whatever a client sends and whatever is stored, there is one answer, in one line."""
    printable = st.binary(max_size=60).map(lambda value: value.replace(b"\n", b""))
    names = "client_address client_name sender recipient instance protocol_state etrn_domain"
    what = {name.encode(): data.draw(printable) for name in names.split()}
    what[b"client_address"] = what[b"client_address"] or b"unknown"
    entries = Anything(data)
    options = {
        "pool": data.draw(st.sampled_from(["network", "domain", "off"])),
        "header": data.draw(st.sampled_from(["yes", "no"])),
        "reply": data.draw(st.sampled_from(["wait", "%s %r %c"])),
    }
    for at in (0, 10, 400):
        decision = decide(what, entries, settings(**options), NOW + at)
        verb = decision.action.split(b" ")[0]
        assert verb in {b"dunno", b"defer_if_permit", b"PREPEND"}
        assert b"\n" not in decision.action
    for name in [name for name in entries if not name.startswith(b"/")]:
        assert state_of(name, entries[name], settings(**options), NOW) != "trusted"


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ipv4_prefix", "0"), ("ipv4_prefix", "33"), ("ipv4_prefix", "x"), ("ipv6_prefix", "129"),
        ("pool", "networks"), ("auto_whitelist", "-1"), ("auto_whitelist", ""),
        ("retry_window", "59"), ("max_age", "0"), ("mode", "on"), ("action", "554"),
        ("action", "reject"), ("action", "45"), ("hostname", "a b"), ("header", "1"),
        ("ipv4_prefix", "0000000249"), ("whitelist", "/a\0b"), ("database", "/gr\udce9y"),
        ("whitelist_clients", "relative"), ("whitelist_clients", "/a relative"),
        ("header_text", "delayed"), ("header_text", "X Greylist: delayed"), ("header_text", ""),
        ("header_text", "X-Greylist: "), ("header_text", "X-Greylist: verspätet"),
        ("header_text", "X-Greylist:delayed: a"), ("header_text", ": delayed"),
        ("reply", "5.7.1 go away"), ("reply", "450 wait"), ("reply", "4.7 wait"),
    ],
)  # fmt: skip
def test_bad_setting(name, value):
    """A value out of range is an error that names the setting."""
    with pytest.raises(SettingsError, match=f"^{name}: "):
        settings(**{name: value})


def test_lists_of_files():
    """Several files stand in one setting, parted by white space or commas."""
    found = settings(whitelist_clients="/a, /b\t/c")
    assert found.whitelist_clients == ("/a", "/b", "/c")
    assert settings(whitelist_clients="").whitelist_clients == ()


def test_a_delay_that_nobody_can_wait_out():
    """A delay as long as the retry window is refused: nobody would ever be let through."""
    with pytest.raises(SettingsError, match="delay is not shorter than retry_window"):
        settings(delay="2d").check()
    settings(delay="2d", retry_window="3d").check()


def test_a_long_triplet_of_version_0_1():
    """A triplet that was stored under its whole addresses is found, and goes on where it is."""
    sender = b"a" * 200 + b"@example.com"
    name = b"192.0.2.0/" + sender + b"/b@example.org"
    entries = Memory({name: b"%d/%d/3" % (NOW - DAY, NOW - HOUR)})
    assert verdicts([(0, request(sender=sender))], entries) == ["triplet found"]
    assert entries[name].startswith(b"%d/%d/" % (NOW - DAY, NOW))
