"""Who has come back once need not wait again: known senders, trusted domains, pools, replies."""

from __future__ import annotations

import pytest
from attempts import DAY, HOUR, NOW, request, settings, verdicts
from memory import Memory

from greylist.policy import Attempt, decide, hint
from greylist.triplet import client_key, instance_key, key, pool_key, reply_key, sender_key

UNNAMED = request(b"203.0.113.9")
NAMED = request(b"203.0.113.9", b"mail-b7.google.com")
FIRST = request(b"198.51.100.1", b"mail-a1.google.com")
OTHER = request(b"192.0.2.9", b"mail-c9.google.com")
OFF = {"auto_whitelist": "0", "auto_whitelist_senders": "0"}
KNOWN = "known sender"


def to(recipient, what=FIRST, **more):
    return {**what, b"recipient": recipient, **{n.encode(): v for n, v in more.items()}}


# Case 1


@pytest.mark.parametrize("count", [30, 60])
def test_many_recipients(count):
    """After one delay a message is through to all its recipients, the twentieth and later too."""
    rcpt = [to(b"r%d@example.org" % n, instance=b"1.1") for n in range(count)]
    entries = Memory()
    assert set(verdicts([(0, what) for what in rcpt[:20]], entries)) == {"new"}
    reasons = verdicts([(400, what) for what in rcpt], entries)
    assert reasons[:20] == ["triplet found, delay=400"] * 20
    assert reasons[20:] == [KNOWN] * (count - 20)
    assert not [key for key, value in entries.triplets.items() if value.endswith(b"/0")]


def test_a_known_correspondent_writes_to_somebody_else():
    """A new recipient is written to without delay, and no triplet is stored for him."""
    entries = Memory()
    steps = [(0, FIRST), (400, FIRST), (9 * DAY, to(b"new@example.org"))]
    assert verdicts(steps, entries) == ["new", "triplet found, delay=400", KNOWN]
    assert len(entries.triplets) == 1


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (OTHER, KNOWN),
        (request(b"198.51.100.77"), KNOWN),
        (request(b"198.51.100.77", b"mx.other.example"), KNOWN),
        (request(b"192.0.2.9"), "new"),
        (request(b"192.0.2.9", b"mail.example.com"), "new"),
        (request(b"192.0.2.9", b"dyn-7.google.com"), "new"),
        (request(b"198.51.100.1", b"mail-a1.google.com", b"else@example.com"), "new"),
        (request(b"198.51.100.1", b"mail-a1.google.com", b"A@EXAMPLE.COM"), KNOWN),
    ],
)
def test_where_a_sender_is_known(other, reason):
    """In the client's network and everywhere in its verified domain, and nowhere else."""
    steps = [(0, FIRST), (400, FIRST), (DAY, to(b"new@example.org", other))]
    assert verdicts(steps)[2] == reason


SERVER = request(b"198.51.100.1", b"mail.example.com", b"ann@example.com")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (request(b"198.51.100.1", b"mail.example.com", b"bob@example.com"), KNOWN),
        (request(b"192.0.2.9", b"mx2.example.com", b"bob@office.example.com"), KNOWN),
        (request(b"198.51.100.1", b"mail.example.com", b"bob@other.example"), "new"),
        (request(b"198.51.100.1", b"mail.example.com", b"bob@notexample.com"), "new"),
        (request(b"198.51.100.1", b"mail.example.com", b"example.com"), "new"),
        (request(b"198.51.100.1", b"unknown", b"bob@example.com"), "new"),
        (request(b"192.0.2.9", b"mail.other.example", b"bob@example.com"), "new"),
        (request(b"192.0.2.9", b"dyn-7.example.com", b"bob@example.com"), "new"),
    ],
)
def test_a_domain_s_own_server_speaks_for_all_its_senders(other, reason):
    """Who has come back for one address of his own verified domain has for the others."""
    steps = [(0, SERVER), (400, SERVER), (DAY, to(b"new@example.org", other))]
    assert verdicts(steps)[2] == reason


def test_a_domain_s_own_senders_have_one_entry():
    """In the domain they are one; in the network each has its own, as others send from there."""
    entries = Memory()
    verdicts([(0, SERVER), (400, SERVER)], entries)
    assert sorted(name for name in entries if name.startswith(b"/sender/")) == [
        b"/sender/198.51.100.0/ann@example.com",
        b"/sender/example.com/@example.com",
    ]


def test_the_normal_form_is_known():
    """The next message of a list is from the same sender."""
    one = request(sender=b"list-return-17-bob=x@lists.example")
    two = to(b"else@example.org", request(sender=b"list-return-18-bob=x@lists.example"))
    assert verdicts([(0, one), (400, one), (500, two)])[2] == KNOWN
    assert verdicts([(0, one), (400, one), (500, two)], normalize_sender="no")[2] == "new"
    upper = to(b"new@example.org", SERVER, sender=b"Bob@EXAMPLE.com")
    assert verdicts([(0, SERVER), (400, SERVER), (500, upper)], normalize_sender="no")[2] == KNOWN


def test_the_null_sender_is_a_sender():
    """A server whose bounce has come back may bounce to others."""
    bounce = request(sender=b"")
    assert verdicts([(0, bounce), (400, bounce), (500, to(b"c@example.org", bounce))])[2] == KNOWN


@pytest.mark.parametrize(("needed", "reasons"), [("0", ["new"] * 3), ("2", ["new", "new", KNOWN])])
def test_how_often_a_sender_has_to_pass(needed, reasons):
    """auto_whitelist_senders says how many triplets it takes, one an hour; 0 turns it off."""
    entries, found = Memory(), []
    for number in range(3):
        what, at = to(b"r%d@example.org" % number), number * 2 * HOUR
        found += verdicts([(at, what)], entries, auto_whitelist_senders=needed)
        verdicts([(at + 400, what)], entries, auto_whitelist_senders=needed)
    assert found == reasons
    assert any(name.startswith(b"/sender/") for name in entries) == (needed != "0")


def test_known_until_max_age():
    """A sender stays known for max_age after it was last seen, and no longer."""
    steps = [(0, FIRST), (400, FIRST)]
    later = to(b"new@example.org")
    assert verdicts([*steps, (400 + 35 * DAY, later)])[2] == KNOWN
    assert verdicts([*steps, (401 + 35 * DAY, later)])[2] == "new"
    used = [(400 + day * 30 * DAY, later) for day in range(1, 9)]
    assert set(verdicts([*steps, *used])[2:]) == {KNOWN}


def test_a_known_correspondent_costs_a_read():
    """Nothing is written within the hour; afterwards the entries that there are, once."""
    entries = Memory()
    verdicts([(0, FIRST), (400, FIRST)], entries, auto_whitelist="0")
    before = dict(entries)
    decision = decide(FIRST, entries, settings(auto_whitelist="0"), NOW + 399 + HOUR)
    assert (decision.reason, decision.stored, decision.age) == (KNOWN, b"", HOUR - 1)
    assert decision.key == sender_key(b"google.com", b"a@example.com")
    assert decision.found == b"%d/0/1" % (NOW + 400)
    assert entries == before
    decision = decide(OTHER, entries, settings(auto_whitelist="0"), NOW + 400 + HOUR)
    changed = {name for name in entries if entries[name] != before.get(name)}
    assert changed == {sender_key(b"google.com", b"a@example.com")}
    assert decision.stored == entries[decision.key] == b"%d/%d/2" % (NOW + 400, NOW + 400 + HOUR)


def test_a_triplet_that_waits_while_its_sender_becomes_known():
    """It passes at once, and counts as passed."""
    entries = Memory()
    late = to(b"late@example.org")
    verdicts([(0, FIRST), (390, late), (400, FIRST)], entries)
    assert verdicts([(410, late)], entries) == [KNOWN]
    value = entries[key(b"198.51.100.0", b"a@example.com", b"late@example.org")]
    assert value == b"%d/%d/01" % (NOW + 390, NOW + 410)


CREDIT = sender_key(b"203.0.113.0", b"a@example.com")
WAITING = key(b"203.0.113.0", b"a@example.com", b"b@example.org")


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        (299, KNOWN),
        (300, "triplet found, delay=300"),
        (2 * DAY, "triplet found, delay=172800"),
        (2 * DAY + 1, KNOWN),
    ],
)
def test_a_triplet_that_began_with_its_sender_s_credit(at, reason):
    """One that has waited long enough was stopped itself; one that is too late was not."""
    client = client_key(b"203.0.113.0")
    entries = Memory(dict.fromkeys((client, CREDIT), b"%d/0/1" % NOW))
    entries[WAITING] = b"%d/0/0" % NOW
    assert verdicts([(at, UNNAMED)], entries) == [reason]
    assert (entries[WAITING] == b"%d/%d/01" % (NOW, NOW + at)) == (at <= 2 * DAY)


def test_a_wait_that_the_domain_s_sender_ends():
    """The sender is known by its domain, though the client's network has a credit of its own."""
    names = client_key(b"google.com"), client_key(b"198.51.100.0")
    entries = Memory(dict.fromkeys((*names, sender_key(b"google.com", b"a@example.com")), b"1/0/1"))
    for name in entries:
        entries[name] = b"%d/0/1" % NOW
    entries[key(b"198.51.100.0", b"a@example.com", b"b@example.org")] = b"%d/0/0" % NOW
    assert verdicts([(9, FIRST)], entries) == [KNOWN]


@pytest.mark.parametrize(("ctime", "age"), [(NOW, 0), (NOW + 9, 0), (NOW - 1, 1)])
def test_age_of_a_credit(ctime, age):
    """A decision by a credit has its age, which is none where another's clock is ahead."""
    value = b"%d/0/1" % ctime
    entries = Memory({CREDIT: value, client_key(b"203.0.113.0"): value})
    assert decide(UNNAMED, entries, settings(), NOW).age == age


def test_a_credit_without_its_setting():
    """A sender's credit counts for nothing while auto_whitelist_senders is 0."""
    entries = Memory({CREDIT: b"%d/0/1" % NOW})
    assert verdicts([(0, UNNAMED)], entries, auto_whitelist_senders="0") == ["new"]


def test_a_known_sender_keeps_its_client():
    """The client's credit is seen with its sender's, once an hour, and counts no more."""
    entries = Memory()
    verdicts([(0, FIRST), (400, FIRST), (399 + HOUR, FIRST)], entries)
    names = client_key(b"google.com"), client_key(b"198.51.100.0")
    assert [entries[name] for name in names] == [b"%d/0/1" % (NOW + 400)] * 2
    verdicts([(400 + HOUR, FIRST)], entries)
    assert [entries[name] for name in names] == [b"%d/%d/1" % (NOW + 400, NOW + 400 + HOUR)] * 2


def test_a_sender_that_does_not_parse():
    """A sender's entry that does not parse is begun anew."""
    name = sender_key(b"198.51.100.0", b"a@example.com")
    entries = Memory({name: b"nonsense"})
    assert verdicts([(0, FIRST), (400, FIRST)], entries)[0] == "new"
    assert entries[name] == b"%d/0/1" % (NOW + 400)


# Trust


def test_a_large_pool_is_trusted_after_five():
    """Passes of all networks of a verified domain count together, one an hour."""
    entries = Memory()
    for number in range(5):
        member = request(
            b"203.0.%d.9" % number,
            b"m%d.example.com" % number,
            b"u%c@other.example" % (97 + number),
        )
        steps = [(number * HOUR, member), (number * HOUR + 400, member)]
        assert verdicts(steps, entries)[0] == "new"
    stranger = request(b"192.0.2.9", b"mx77.example.com", b"new@example.com")
    assert verdicts([(9 * HOUR, stranger)], entries) == ["client AWL"]
    unnamed = request(b"203.0.1.9", sender=b"new@example.com")
    assert verdicts([(9 * HOUR, unnamed)], entries) == ["new"]
    assert entries[client_key(b"example.com")].endswith(b"/6")


def test_a_hoster_is_not_trusted_for_its_tenants():
    """A domain earns trust by machines that say its name in HELO, not their tenants' names."""
    entries = Memory()
    for number in range(7):
        name, helo = b"rented%c.1hoster.example" % (97 + number), b"mx.firm%d.example" % number
        tenant = request(b"192.0.%d.9" % number, name, b"a@firm%d.example" % number)
        for at in (0, 400):
            decide({**tenant, b"helo_name": helo}, entries, settings(), NOW + number * DAY + at)
    credits = {
        name
        for name, value in entries.items()
        if name.startswith(b"/client/") and not value.endswith(b"/0")
    }
    assert credits == {client_key(b"192.0.%d.0" % number) for number in range(7)}
    neighbour = request(b"192.0.9.9", b"rentedx.1hoster.example", b"b@bot.example")
    assert decide(neighbour, entries, settings(), NOW + 8 * DAY).reason == "new"
    # Their senders are known from everywhere in it nevertheless.
    moved = request(b"192.0.9.9", b"rentedy.1hoster.example", b"a@firm3.example")
    for helo in b"mx.firm3.example", b"rentedy.1hoster.example":
        what = to(b"new@example.org", moved) | {b"helo_name": helo}
        assert decide(what, entries, settings(), NOW + 8 * DAY).reason == KNOWN


@pytest.mark.parametrize("helo", [b"mail-a1.google.com", b"MAIL.Google.com.", b"google.com", b""])
def test_a_domain_s_own_machines_earn_it_trust(helo):
    """A pool's machines say the pool's name; of a request without HELO the name is enough."""
    entries = Memory()
    for at in (0, 400):
        decide({**FIRST, b"helo_name": helo}, entries, settings(), NOW + at)
    assert entries[client_key(b"google.com")] == b"%d/0/1" % (NOW + 400)


def test_a_known_sender_has_a_client_with_an_entry():
    """An identity that mail earns nothing has its entry all the same, for as long as its senders.

    Without one, no sender would be looked for there.
    """
    entries = Memory()
    tenant = FIRST | {b"helo_name": b"mx.firm.example"}
    steps = [(0, tenant), (400, tenant), *((day * DAY, tenant) for day in range(10, 70, 10))]
    assert verdicts(steps, entries)[1:] == ["triplet found, delay=400", *[KNOWN] * 6]
    assert entries[client_key(b"google.com")] == b"%d/%d/0" % (NOW + 400, NOW + 60 * DAY)
    assert (
        decide(to(b"new@example.org", OTHER), entries, settings(), NOW + 90 * DAY).reason == KNOWN
    )


def test_a_domain_is_not_trusted_for_its_customers():
    """Customers' names give no trust to the provider's domain, and get none from it."""
    entries = Memory({client_key(b"example.com"): b"%d/%d/9" % (NOW - DAY, NOW)})
    assert verdicts([(0, request(b"192.0.2.9", b"dsl-12.example.com"))], entries) == ["new"]
    assert verdicts([(0, request(b"192.0.2.9", b"mx.example.com"))], entries) == ["client AWL"]
    assert verdicts([(0, request(b"203.0.113.8", b"mx.example.com"))], entries, pool="off") == [
        "new"
    ]


# Cases 2 and 3


@pytest.mark.parametrize("values", [{}, OFF])
def test_one_failure_of_the_name_service(values):
    """A client's own waiting triplet does not hide that of its pool which has passed."""
    steps = [(0, FIRST), (400, NAMED), (5 * DAY, UNNAMED), (5 * DAY + 60, NAMED)]
    reasons = verdicts(steps, Memory(), **values)
    assert reasons[0] == "new"
    assert reasons[1] == "triplet found, delay=400, pool=google.com"
    assert reasons[2] == ("new" if values else KNOWN)  # its network is known by now
    assert reasons[3] == ("triplet found, pool=google.com" if values else KNOWN)
    elsewhere = [(0, FIRST), (400, FIRST), (5 * DAY, UNNAMED), (5 * DAY + 60, NAMED)]
    assert verdicts(elsewhere, **values)[2] == "new"
    assert verdicts(elsewhere, **values)[3] == (
        "triplet found, pool=google.com" if values else KNOWN
    )


@pytest.mark.parametrize("values", [{}, OFF])
def test_a_first_attempt_without_a_name(values):
    """The pool is learnt at any attempt that has a name."""
    steps = [(0, UNNAMED), (60, NAMED), (400, OTHER)]
    assert verdicts(steps, **values) == [
        "new",
        "early-retry (240s missing)",
        "triplet found, delay=400, pool=google.com",
    ]
    steps = [(0, UNNAMED), (400, NAMED), (500, OTHER)]
    assert verdicts(steps, **OFF)[2] == "triplet found, pool=google.com"


def test_the_longer_wait_counts():
    """Of two waits, the client's own and its pool's, the older one ends first."""
    assert verdicts([(0, FIRST), (100, UNNAMED), (310, NAMED)])[2].startswith(
        "triplet found, delay=310"
    )
    assert verdicts([(0, UNNAMED), (100, FIRST), (310, NAMED)])[2] == "triplet found, delay=310"


# Case 4


@pytest.mark.parametrize("delay", ["15m", "1d"])
def test_a_delay_that_is_raised(delay):
    """What has passed has passed: no new wait, no header, no further credit, no early end."""
    entries = Memory()
    verdicts([(0, FIRST), (400, FIRST)], entries, **OFF)
    found = settings(delay=delay, header="yes", **OFF)
    for at in (500, 7200, 30 * DAY):
        decision = decide(FIRST, Memory(entries), found, NOW + at)
        assert (decision.action, decision.reason) == (b"dunno", "triplet found")
    assert verdicts([(500, FIRST)], entries, delay=delay, auto_whitelist_senders="0") == [
        "triplet found"
    ]
    assert not any(name.startswith(b"/client/") for name in entries)


def test_a_delay_that_is_lowered():
    """Who was early has not passed by it, and passes at his next attempt."""
    entries = Memory()
    verdicts([(0, FIRST), (200, FIRST)], entries)
    assert verdicts([(201, FIRST)], entries, delay="1m") == ["triplet found, delay=201"]


def test_upgrade_in_place():
    """What passed in a value without a mark passes, and has its mark from then on."""
    name = key(b"198.51.100.0", b"a@example.com", b"b@example.org")
    entries = Memory({name: b"%d/%d/7" % (NOW - 20 * DAY, NOW - 10 * DAY)})
    assert verdicts([(0, FIRST)], entries) == ["triplet found"]
    assert entries[name] == b"%d/%d/08" % (NOW - 20 * DAY, NOW)
    waiting = Memory({name: b"%d/%d/1" % (NOW - 280, NOW - 5)})
    assert verdicts([(0, FIRST)], waiting) == ["early-retry (20s missing)"]
    assert waiting[name] == b"%d/%d/002" % (NOW - 280, NOW)


# Case 13 and 15


@pytest.mark.parametrize(
    "address",
    [b"172.17.0.1", b"10.1.2.3", b"192.168.1.1", b"127.0.0.1", b"169.254.1.1", b"100.64.9.9",
     b"::1", b"fd00::1", b"fe80::1", b"::ffff:10.0.0.1", b"64:ff9b::10.0.0.1", b"unknown"],
)  # fmt: skip
def test_a_private_address_earns_nothing(address):
    """If everybody comes from one address, nobody is let through by another's merits."""
    entries = Memory()
    for number in range(9):
        what = request(address, b"gateway.example.com", b"u%c@other.example" % (97 + number))
        at = number * HOUR
        assert verdicts([(at, what), (at + 400, what)], entries)[0] == "new"
    assert set(entries) == set(entries.triplets)
    other = to(b"c@example.org", request(address, b"gateway.example.com", b"ua@example.com"))
    assert verdicts([(DAY, other)], entries) == ["new"]


def test_never_trusted():
    """A client that may not be trusted is not, whatever is stored; its triplets pass as ever."""
    entries = Memory({
        client_key(b"google.com"): b"%d/%d/9" % (NOW - DAY, NOW),
        sender_key(b"198.51.100.0", b"a@example.com"): b"%d/%d/9" % (NOW - DAY, NOW),
    })  # fmt: skip
    before = dict(entries)
    reasons = [
        decide(FIRST, entries, settings(), NOW + at, trusting=False).reason for at in (0, 400, 500)
    ]
    assert reasons == ["new", "triplet found, delay=400", "triplet found"]
    assert before.items() <= entries.items()


# Case 16


def asked(at, entries, instance, what=FIRST, **values):
    return decide({**what, b"instance": instance}, entries, settings(**values), NOW + at)


@pytest.mark.parametrize("gap", [1, 2, 30])
def test_one_rcpt_has_one_answer(gap):
    """Asked again about the same RCPT when the delay has just ended, the answer is the same."""
    entries = Memory()
    asked(0, entries, b"1.1")
    assert asked(299, entries, b"1.2").reason == "early-retry (1s missing)"
    assert entries[instance_key(b"1.2", b"b@example.org")] == b"%d" % (NOW + 299)
    before = dict(entries)
    decision = asked(299 + gap, entries, b"1.2")
    assert (decision.verdict, decision.reason) == ("greylist", "early-retry, asked twice")
    assert entries == before
    again = asked(299 + gap, entries, b"1.2", reply="wait %s")
    assert again.action == b"defer_if_permit wait 1"
    assert asked(300 + gap, entries, b"1.2", to(b"c@example.org")).reason == "new"
    assert asked(300 + gap, entries, b"1.3").reason == f"triplet found, delay={300 + gap}"


def test_one_rcpt_while_it_waits():
    """Until the delay ends, another question about an RCPT is another attempt."""
    entries = Memory()
    asked(0, entries, b"1.1")
    asked(298, entries, b"1.2")
    assert asked(299, entries, b"1.2").reason == "early-retry (1s missing)"


def test_one_rcpt_with_a_short_delay():
    """A first attempt is no other: asked twice, it does not answer itself."""
    entries = Memory()
    assert asked(0, entries, b"1.1", delay="1s").reason == "new"
    assert asked(1, entries, b"1.1", delay="1s").verdict == "greylist"
    assert asked(2, entries, b"1.2", delay="1s").verdict == "pass"


def test_ordinary_requests_leave_no_record_of_their_rcpt():
    """Only where the delay may end between two questions is an RCPT remembered."""
    entries = Memory()
    for at in (0, 100, 269, 400):
        asked(at, entries, b"1.%d" % at)
    assert not any(name.startswith(b"/instance/") for name in entries)
    for at in (0, 270):
        asked(at, entries, b"1.%d" % at, to(b"new@example.org"), auto_whitelist_senders="0")
    assert [name for name in entries if name.startswith(b"/instance/")] == [
        instance_key(b"1.270", b"new@example.org")
    ]


@pytest.mark.parametrize(("at", "missing"), [(0, 300), (299, 1)])
def test_the_same_rcpt_again(at, missing):
    """What has deferred an RCPT a moment ago says so again, and stores no attempt."""
    found = settings(reply="wait %s")
    for what, name in (
        (FIRST, key(b"198.51.100.0", b"a@example.com", b"b@example.org")),
        (OTHER, pool_key(b"google.com", b"a@example.com", b"b@example.org")),
    ):
        entries = Memory()
        verdicts([(0, FIRST)], entries)
        before = dict(entries)
        decision = decide(what, entries, found, NOW + at, again=True)
        assert (decision.verdict, decision.reason) == (
            "greylist",
            f"early-retry ({missing}s missing)",
        )
        assert decision.action == b"defer_if_permit wait %d" % missing
        assert (decision.key, decision.found) == (name, before[name])
        assert entries == before


@pytest.mark.parametrize(
    ("value", "at", "reason"),
    [
        (b"%d/0/0" % NOW, 300, "triplet found, delay=300"),
        (b"%d/0/0" % NOW, 301, "triplet found, delay=301"),
        (b"nonsense", 10, "new"),
    ],
)
def test_the_same_rcpt_after_a_change(value, at, reason):
    """Where the entry does not say that it was deferred, the request is decided like any other."""
    entries = Memory({WAITING: value})
    assert decide(UNNAMED, entries, settings(), NOW + at, again=True).reason == reason


# Replies

OWN = {b"sender": b"User@example.org", b"recipient": b"friend+tag@Example.net",
       b"client_address": b"192.0.2.200", b"sasl_username": b"user"}  # fmt: skip


def test_a_reply():
    """Mail to a user from an address that he has written to passes at once, from anywhere."""
    entries = Memory()
    learning = settings(learn_replies="yes")
    decision = decide(OWN, entries, learning, NOW, own=True)
    assert (decision.action, decision.verdict) == (b"dunno", "pass")
    assert decision.reason == "own user"
    name = reply_key(b"friend@example.net", b"user@example.org")
    assert entries == {name: b"%d/0/1" % NOW}
    decide(OWN, entries, learning, NOW + HOUR - 1, own=True)
    assert entries == {name: b"%d/0/1" % NOW}
    answer = request(sender=b"friend@example.net", recipient=b"user@example.org")
    decision = decide(answer, entries, learning, NOW + DAY)
    assert (decision.action, decision.reason) == (b"dunno", "reply")
    assert (decision.key, decision.found) == (name, b"%d/0/1" % NOW)
    assert decide(answer, entries, settings(), NOW + DAY).reason == "new"
    assert decide(answer, Memory(entries), learning, NOW + 37 * DAY).reason == "new"


def test_a_reply_without_normal_forms():
    """With normalize_sender = no the address is expected as it was written to."""
    entries = Memory()
    found = settings(learn_replies="yes", normalize_sender="no")
    decide(OWN, entries, found, NOW, own=True)
    assert list(entries) == [reply_key(b"friend+tag@example.net", b"user@example.org")]


@pytest.mark.parametrize(
    "other",
    [
        request(sender=b"friend@example.com", recipient=b"user@example.org"),
        request(sender=b"friend@example.net", recipient=b"other@example.org"),
        request(sender=b"", recipient=b"user@example.org"),
    ],
)
def test_no_reply(other):
    """Mail of somebody else, or to somebody else, is no reply; a bounce is none either."""
    entries = Memory()
    learning = settings(learn_replies="yes")
    decide(OWN, entries, learning, NOW, own=True)
    assert decide(other, entries, learning, NOW).reason == "new"


def test_bounces_of_ours_expect_no_reply():
    """Nobody answers the null sender."""
    entries = Memory()
    decide({**OWN, b"sender": b""}, entries, settings(learn_replies="yes"), NOW, own=True)
    assert entries == {}


# A bound on entries


def test_full():
    """When no more may be stored, a new triplet is deferred; those that there are go on."""
    entries = Memory()
    verdicts([(0, FIRST)], entries)
    new = to(b"new@example.org")
    before = dict(entries)
    decision = decide(new, entries, settings(), NOW + 10, full=True)
    assert (decision.verdict, decision.reason) == ("greylist", "new, max_entries reached")
    assert decision.action == b"defer_if_permit Service is temporarily unavailable"
    assert entries == before
    decision = decide(new, entries, settings(reply="wait %s"), NOW + 10, full=True)
    assert decision.action == b"defer_if_permit wait 300"
    assert decide(FIRST, entries, settings(), NOW + 400, full=True).verdict == "pass"
    assert decide(new, entries, settings(), NOW + 410, full=True).reason == KNOWN
    assert decide(UNNAMED, Memory(), settings(delay="0"), NOW, full=True).verdict == "pass"


def test_an_attempt_is_a_stranger_s_unless_it_says_more():
    """An attempt of which nothing else is known is decided on as of now, and has room."""
    entries, others = Memory(), Memory()
    decision = Attempt(FIRST, settings()).decide(entries, NOW)
    assert decision.reason == decide(FIRST, others, settings(), NOW).reason == "new"
    assert entries == others


# What is asked for first


@pytest.mark.parametrize("what", [FIRST, UNNAMED, request(b"10.0.0.1", b"x.example.com")])
def test_the_hint_has_all_that_is_read(what):
    """What decide reads at an ordinary attempt is in the hint, but for what former versions had."""
    asked_for = []

    class Watched(Memory):
        def get(self, key, default=None):
            asked_for.append(key)
            return super().get(key, default)

    found = settings(learn_replies="yes", ipv4_prefix="32")
    entries = Watched()
    for at in (0, 100):
        asked_for.clear()
        decide(what, entries, found, NOW + at)
        assert set(asked_for) <= set(hint(what, found))
        assert asked_for
        asked_for.clear()
        decide(what, Watched(), found, NOW + at, again=True)
        assert set(asked_for) <= set(hint(what, found))
    assert pool_key(b"google.com", b"a@example.com", b"b@example.org") in set(hint(FIRST, found))


def test_an_expired_credit_counts_as_gone():
    """What has expired has the same effect whether it is purged yet or not."""
    domain, network = client_key(b"google.com"), client_key(b"198.51.100.0")
    stored = []
    for before in ({}, {domain: b"%d/%d/9" % (NOW - 90 * DAY, NOW - 80 * DAY)}):
        entries = Memory({network: b"%d/%d/9" % (NOW - 90 * DAY, NOW - DAY), **before})
        assert decide(FIRST, entries, settings(), NOW).reason == "client AWL"
        stored.append([entries[network], entries.get(domain) == before.get(domain)])
    assert stored[0] == stored[1]


def test_the_hint_without_replies_and_pool():
    """Where nothing else can be asked for, the hint has no more."""
    keys = list(hint(UNNAMED, settings()))
    assert keys[:3] == [
        client_key(b"203.0.113.0"),
        sender_key(b"203.0.113.0", b"a@example.com"),
        key(b"203.0.113.0", b"a@example.com", b"b@example.org"),
    ]
    assert not [name for name in keys if name.startswith((b"/reply/", b"/pool/"))]
