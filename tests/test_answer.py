"""Rules that need more than one request: lists that teach, bounds, and what is said once."""

from __future__ import annotations

import time

import pytest
from responder_site import DEFER, PASS, REQUEST
from settled import write


def entries(filter):
    return dict(filter.store.transact(lambda entries: entries.after(b"", 1000)))


def reasons(filter, *requests):
    """Return the reasons that are logged for these requests."""
    before = len(filter.log.lines)
    for request in requests:
        filter.answer({**REQUEST, **request})
    lines = filter.log.lines[before:]
    return [line.partition("reason=")[2].partition(", client_")[0] for line in lines]


def pass_one(filter, **more):
    """Let a triplet of the client's pass, as if it had waited."""
    request = {**REQUEST, **{name.encode(): value for name, value in more.items()}}
    filter.answer(request)

    def age(entries):
        for key, value in entries.after(b"", 1000):
            if not key.startswith(b"/"):
                entries.put(key, b"%d/0/0" % (int(value.partition(b"/")[0]) - 400), 1)

    filter.store.transact(age)
    filter.answer(request)


@pytest.mark.parametrize(
    "line", ["client_address=192.0.2.0/24", "client_name=unknown.example", "^192[.]0[.]2[.]"]
)
def test_never_trust(site, line):
    """A client on the list of never_trust stays a stranger with everything new."""
    never = site.directory / "never"
    write(never, line + "\n")
    site.write(f"never_trust = {never}\n")
    name = b"mx.unknown.example"
    filter = site.filter()
    pass_one(filter, client_name=name)
    assert reasons(filter, {b"recipient": b"c@example.org", b"client_name": name}) == ["new"]
    assert not [key for key in entries(filter) if key.startswith((b"/client/", b"/sender/"))]
    write(never, "client_address=198.51.100.1\n")
    pass_one(filter, client_name=name, recipient=b"d@example.org")
    assert reasons(filter, {b"recipient": b"e@example.org", b"client_name": name}) == [
        "known sender"
    ]
    filter.store.close()


def test_learn_replies(site):
    """Who logs in, and the clients listed as ours, teach whose answers pass at once."""
    own = site.directory / "own"
    write(own, "client_address=198.51.100.25\n")
    site.write(f"learn_replies = yes\nown_clients = {own}\n")
    filter = site.filter()
    ann, bob = b"ann@example.org", b"bob@example.net"
    login = {b"sender": ann, b"recipient": bob, b"sasl_username": b"ann"}
    answer = {b"sender": bob, b"recipient": ann}
    assert reasons(filter, answer) == ["new"]
    assert reasons(filter, login, answer) == ["own user", "reply"]
    carl = {b"sender": ann, b"recipient": b"carl@example.net", b"client_address": b"198.51.100.25"}
    stranger = {**carl, b"recipient": b"eve@example.net", b"client_address": b"198.51.100.26"}
    assert reasons(filter, carl, stranger) == ["own user", "new"]
    assert reasons(
        filter,
        {b"sender": b"carl@example.net", b"recipient": ann},
        {b"sender": b"eve@example.net", b"recipient": ann},
    ) == ["reply", "new"]
    site.write()
    filter.settings.file.read()
    assert reasons(site.filter(), login) == ["new"]
    filter.store.close()


def test_a_login_teaches_nothing_unless_asked_to(site):
    """Without learn_replies, mail with a login waits like any other that is asked about."""
    filter = site.filter()
    assert reasons(filter, {b"sasl_username": b"ann"}) == ["new"]
    filter.store.close()


def test_no_recipient_is_said_once(site):
    """In the wrong restrictions, each process says so once, and answers dunno each time."""
    filter = site.filter()
    for state in (b"CONNECT", b"HELO", b"MAIL", b"MAIL"):
        request = {**REQUEST, b"recipient": b"", b"protocol_state": state}
        assert filter.answer(request) == PASS
    assert len(filter.log.lines) == 2
    assert "check_policy_service belongs in smtpd_recipient_restrictions" in filter.log.lines[0]
    assert "reason=no recipient" in filter.log.lines[1]
    assert filter.store is None


def test_vrfy_teaches_nothing(site):
    """Asked about VRFY, however often, nothing is stored."""
    filter = site.filter()
    for _ in range(2):
        assert filter.answer({**REQUEST, b"protocol_state": b"VRFY"}) == PASS
    assert filter.store is None


def test_everybody_from_one_address(site):
    """That most requests come from one private address is said once."""
    filter = site.filter()
    for number in range(40):
        sender = b"u%d@example.com" % number
        filter.answer({**REQUEST, b"client_address": b"172.17.0.1", b"sender": sender})
    said = [line for line in filter.log.lines if "most requests" in line]
    assert len(said) == 1
    assert "172.17.0.1, a private address, which is never trusted" in said[0]
    filter.store.close()


def test_everybody_from_everywhere(site):
    """Some requests from a private address among others, or many from a public one: no sign."""
    filter = site.filter()
    for number in range(60):
        address = b"172.17.0.1" if number % 2 else b"192.0.2.%d" % number
        filter.answer({**REQUEST, b"client_address": address})
    for _ in range(20):
        filter.answer(REQUEST)
    assert not [line for line in filter.log.lines if "most requests" in line]
    filter.store.close()


def test_max_entries(site, monkeypatch):
    """Beyond max_entries new triplets are deferred but not stored, and it is said once an hour."""
    monkeypatch.setattr("greylist.answer.COUNT_EVERY", 0.0)
    site.write("max_entries = 5\n")
    filter = site.filter()
    # Each new one has the purging look at 32, and count them.
    senders = [b"h%d@example.com" % (number * 8) for number in range(60)]
    assert {filter.answer({**REQUEST, b"sender": sender}) for sender in senders} == {DEFER}
    stored = [key for key in entries(filter) if not key.startswith(b"/")]
    assert 5 <= len(stored) < 30
    warnings = [line for line in filter.log.lines if "max_entries = 5" in line]
    assert len(warnings) == 1
    assert "new, max_entries reached" in filter.log.lines[-1]
    first = {**REQUEST, b"sender": senders[0]}
    assert "early-retry" in reasons(filter, first)[0]
    later = time.monotonic() + 3601
    filter._count(filter.store, later)
    assert len([line for line in filter.log.lines if "max_entries = 5" in line]) == 2
    site.write()
    site.write("max_entries = 0\n")
    filter.settings.file.changed()
    filter._use(filter.settings.reread())
    assert reasons(filter, {b"sender": b"another@example.com"}) == ["new"]
    filter.store.close()


def test_one_rcpt_has_one_answer(site, monkeypatch):
    """Asked again about one RCPT, the answer is the same and nothing is stored, at any time."""
    now = [1_790_000_000]
    monkeypatch.setattr(time, "time", lambda: now[0])
    filter = site.filter()
    first = {b"instance": b"1.1"}
    assert reasons(filter, first) == ["new"]
    before = entries(filter)
    for seconds in 0, 60, 400:  # the lists between are slow: a DNS server does not answer
        now[0] += seconds
        assert reasons(filter, first) == ["early-retry (300s missing)"]
    assert entries(filter) == before
    second = {b"instance": b"1.2", b"recipient": b"c@example.org"}
    assert reasons(filter, second) == ["new"]
    # Another message makes the sender known meanwhile: the RCPT stays deferred.
    assert reasons(filter, {b"instance": b"1.3"}) == ["triplet found, delay=460"]
    assert filter.answer({**REQUEST, **second}).startswith(DEFER)
    assert reasons(filter, {**second, b"instance": b"1.4"}) == ["known sender"]
    for whose in {b"client_address": b"198.51.100.7"}, {b"recipient": b"d@example.org"}:
        assert reasons(filter, {**second, **whose})[0] in {"new", "known sender"}
    filter.store.close()


def test_no_more_than_some_deferred_recipients_are_remembered(site):
    """A server that never ends does not grow."""
    filter = site.filter()
    for number in range(2500):
        filter.answer({**REQUEST, b"instance": b"1.%d" % number})
    assert 0 < len(filter._deferred) <= 1000
    filter.store.close()
