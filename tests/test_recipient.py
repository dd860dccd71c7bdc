"""A client that spells the recipient as it likes escapes no list."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from attempts import settings
from hypothesis import given
from hypothesis import strategies as st
from memory import Memory

import greylist.recipient
from greylist import local_domains, policy
from greylist.recipient import delivered, forms, is_placeless, unextended
from greylist.screening import mailboxes, screen
from greylist.triplet import key
from greylist.whitelist.lines import rule
from greylist.whitelist.matcher import Patterns
from greylist.whitelist.postgrey import recipient_rule

EXAMPLE = Path(__file__).parent.parent / "nogreylist.example"

SPELLINGS = [
    b"b@example.org", b"B@Example.ORG", b"b@example.org.", b"b%example.org@example.org",
    b"b%example.org@white.example", b"b%example.org.@white.example.",
    b"example.org!b@white.example",
    b"b@example.org@white.example", b"b%example.org%one.example@white.example",
    b"@one.example,@two.example:b@example.org", b"b%example.org", b"example.org!b",
    b"@one.example:@two.example:b@example.org",
    b"b%example.org@[192.0.2.25]", b"@white.example:b%example.org@white.example",
]  # fmt: skip
PLACELESS = [
    b"b@[192.0.2.25]",
    b"b",
    b"b@[IPv6:2001:db8::1]",
    b"b@",
    b"B@[192.0.2.25].",
    b"b@example.org@",
    b"b@localhost",
    b"b%localhost",
    b"b@mail",
]
ELSE = [b"c@example.org", b"b@example.com", b"b@white.example", b"c%example.org@white.example"]


def request(recipient, **more):
    attributes = {name.encode(): value for name, value in more.items()}
    base = {b"client_address": b"192.0.2.1", b"sender": b"a@example.com"}
    return {**base, b"recipient": recipient, **attributes}


def reason(recipient, whitelists=(), only=(), **values):
    """Return the reason for passing, or ``new``."""
    decision = screen(request(recipient), settings(**values), whitelists, only)
    return decision.reason if decision else "new"


@pytest.mark.parametrize("recipient", SPELLINGS)
def test_delivered(recipient):
    """Each of these may be b@example.org, and is in the key."""
    assert delivered(recipient) == b"b@example.org"
    entries = Memory()
    policy.decide(request(recipient), entries, settings(), 1_790_000_000)
    assert list(entries) == [key(b"192.0.2.0", b"a@example.com", b"b@example.org")]


@pytest.mark.parametrize(
    "recipient", [*SPELLINGS, *PLACELESS, b"b+x@example.org", b"b+/@example.org"]
)
def test_no_spelling_escapes_a_list_of_those_that_are_greylisted(recipient):
    """In doubt, a recipient is the one that the list has."""
    only = Patterns(b"b@example.org\n", recipient_rule)
    assert reason(recipient, only=[only]) == "new"


@pytest.mark.parametrize("recipient", ELSE)
def test_others_are_not_on_it(recipient):
    """Whoever is not on the list in any form is not greylisted."""
    only = Patterns(b"b@example.org\n", recipient_rule)
    assert reason(recipient, only=[only]) == "recipient not in greylist_recipients"


@pytest.mark.parametrize("recipient", [*SPELLINGS[2:], *PLACELESS])
def test_no_spelling_gets_onto_a_whitelist(recipient):
    """All that an address may stand for has to be on the list."""
    white = [Patterns(b"white.example\npostmaster@\n", recipient_rule)]
    assert reason(recipient, white) == "new"
    assert reason(b"x@white.example", white) == "recipient whitelist"
    assert reason(b"x@White.Example.", white) == "recipient whitelist"
    assert reason(b"x%white.example@white.example", white) == "recipient whitelist"


def test_a_whitelisted_client_may_spell_as_it_likes():
    """A line about the client holds for every form of the recipient."""
    white = [Patterns(b"client_address=192.0.2.0/24\n^192[.]0\n", rule)]
    assert reason(b"b%example.org@white.example", white) == "client whitelist"


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        (b"postmaster@example.org", "recipient whitelist"),
        (b"Postmaster@Example.org.", "recipient whitelist"),
        (b"abuse@example.org", "recipient whitelist"),
        (b"b+/postmaster@example.org", "new"),
        (b"b/postmaster@example.org", "new"),
        (b"x-postmaster@example.org", "new"),
        (b"b%postmaster@example.org", "new"),
        (b"postmaster%example.com@example.org", "new"),
        (b"x/abuse@example.org", "new"),
    ],
)
def test_the_example_of_a_whitelist(recipient, expected):
    """The lines as shipped are about attributes, which no address can pass for."""
    assert reason(recipient, [Patterns(EXAMPLE.read_bytes(), rule)]) == expected


def test_no_slash_makes_another_part():
    """In the subject of the original's form, only the slashes between the parts are slashes."""
    old = [Patterns(b"/postmaster@[^/]*$\n^[^/]+/[^/]*@good[.]example/\n", rule)]
    assert reason(b"postmaster@example.org", old) == "client whitelist"
    assert reason(b"b+/postmaster@example.org", old) == "new"
    bad = request(b"b@example.org", sender=b"x@good.example/@bad.example")
    assert screen(bad, settings(), old) is None


@pytest.mark.parametrize(
    ("delimiters", "address", "plain"),
    [
        ("+", b"b+x@example.org", b"b@example.org"),
        ("+", b"b+x+y@example.org", b"b@example.org"),
        ("-", b"b-x@example.org", b"b@example.org"),
        ("+-", b"b-x+y@example.org", b"b@example.org"),
        ("+", b"+x@example.org", b"+x@example.org"),
        ("+-", b"+x-y@example.org", b"+x-y@example.org"),
        ("+", b"a@b+x@example.org", b"a@b@example.org"),
        ("+", b"b+x", b"b+x"),
        ("", b"b+x@example.org", b"b+x@example.org"),
        ("-", b"b+x@example.org", b"b+x@example.org"),
    ],
)
def test_extensions(delimiters, address, plain):
    """Postfix parts the extension at the first of its delimiters."""
    assert unextended(address, delimiters) == plain
    only = [Patterns(b"b@example.org\n", recipient_rule)]
    if plain == b"b@example.org":
        assert reason(address, only=only, recipient_delimiter=delimiters) == "new"


LOCAL = "example.org, mail.example.org white.example localhost"


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        (b"b@mail.example.org", "new"),
        (b"B@White.Example.", "new"),
        (b"b+x@mail.example.org", "new"),
        (b"b%mail.example.org@white.example", "new"),
        (b"b@elsewhere.example", "recipient not in greylist_recipients"),
        (b"c@mail.example.org", "recipient not in greylist_recipients"),
        (b"c+b@mail.example.org", "recipient not in greylist_recipients"),
    ],
)
def test_a_user_has_one_mailbox_in_all_local_domains(recipient, expected):
    """Whichever local domain a client writes, it is the user whom the list has."""
    only = Patterns(b"b@example.org\n", recipient_rule)
    assert reason(recipient, only=[only], mydestination=LOCAL) == expected
    assert reason(b"b@mail.example.org", only=[only], mydestination="mail.example.org") != "new"


def test_mailboxes():
    """A user's addresses: as written, without the extension, in each of the local domains."""
    found = mailboxes(
        b"b@c+x@mail.example.org", settings(mydestination="One.example mail.example.org")
    )
    assert set(found) == {
        b"b@c+x@mail.example.org",
        b"b@c@mail.example.org",
        b"b@c+x@one.example",
        b"b@c@one.example",
    }


def test_local_domains_do_not_widen_a_whitelist():
    """A list of those that are never greylisted is about the domain that is written."""
    white = [Patterns(b"b@example.org\n", recipient_rule)]
    assert reason(b"b@mail.example.org", white, mydestination=LOCAL) == "new"


@pytest.fixture
def main_cf(tmp_path, monkeypatch):
    """Return where a main.cf is looked for; Postfix is asked afresh."""
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    monkeypatch.setattr(local_domains, "_asked", [])
    return tmp_path / "main.cf"


def settle_main(path, text):
    """Write main.cf as if long ago: Postfix waits until a file that has changed is at rest."""
    path.write_text(text)
    os.utime(path, (1_500_000_000, 1_500_000_000))


@pytest.mark.skipif(shutil.which("postconf", path="/usr/sbin") is None, reason="no Postfix")
def test_postfix_is_asked(main_cf):
    """What the settings do not say is asked of Postfix, once, when a recipient is not listed."""
    settle_main(
        main_cf,
        "mydomain = example.org\nmydestination = $mydomain, hash:/etc/x /etc/y\n"
        "  Mail.$mydomain, !no.example\nrecipient_delimiter = -\n",
    )
    only = [Patterns(b"b@example.org\n", recipient_rule)]
    assert reason(b"b@example.org", only=only) == "new"
    assert not local_domains._asked
    for recipient in b"b@mail.example.org", b"b-x@example.org", b"b-x@mail.example.org":
        assert reason(recipient, only=only) == "new"
    assert reason(b"c-b@mail.example.org", only=only) != "new"
    main_cf.write_text("")
    assert reason(b"b+x@mail.example.org", only=only) == "new"
    assert local_domains._asked == [((b"example.org", b"mail.example.org"), "-")]
    given = {"mydestination": "one.example", "recipient_delimiter": "+"}
    assert reason(b"b-x@example.org", only=only, **given) != "new"


@pytest.mark.parametrize("text", [None, "mydestination = $mydestination\n"])
def test_postfix_cannot_tell(main_cf, text):
    """Where there is no Postfix, or its configuration is broken, the list holds as written."""
    if text:
        settle_main(main_cf, text)
    only = [Patterns(b"b@example.org\n", recipient_rule)]
    began = time.monotonic()
    assert reason(b"b@mail.example.org", only=only) == "recipient not in greylist_recipients"
    assert reason(b"b+x@example.org", only=only) == "new"
    assert text or time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    ("recipient", "expected"),
    [
        (b"B%Example.Org@White.example.", [b"b%example.org@white.example", b"b@example.org"]),
        (b"@one.example,@two.example:b@example.org", [b"b@example.org"]),
        (b"@one.example:b:c@example.org", [b"b:c@example.org"]),
        (b"@one.example:@two.example", [b"@two.example"]),
        (b"@example.org", [b"@example.org"]),
        (b"example.org.!b@white.example", [b"example.org.!b@white.example", b"b@example.org"]),
        (b"one!two!b@white.example", [b"one!two!b@white.example", b"two!b@one", b"b@two"]),
        (b"!b@example.org", [b"!b@example.org"]),
        (b"one.example!@example.org", [b"one.example!@example.org"]),
        (b"%one.example@example.org", [b"%one.example@example.org"]),
        (b"b%@example.org", [b"b%@example.org"]),
    ],
)
def test_forms(recipient, expected):
    """From the address as it is written, with each step one more host is taken for local."""
    assert list(forms(recipient)) == expected


def test_remembered():
    """A process remembers the forms of the last recipients, of so many at most."""
    assert forms(b"b@example.org") is forms(b"b@example.org")
    sizes = set()
    for number in range(1000):
        assert forms(b"%d@example.org" % number) == (b"%d@example.org" % number,)
        sizes.add(len(greylist.recipient._found))
    assert max(sizes) == 1000
    assert len(greylist.recipient._found) == 1


@pytest.mark.parametrize("recipient", PLACELESS)
def test_placeless(recipient):
    """An address of the server's, or none, is no domain."""
    assert any(map(is_placeless, forms(recipient)))
    assert not is_placeless(b"b@example.org")


@given(st.one_of(st.binary(max_size=60), st.text("ab@%!.[]:,+", max_size=20).map(str.encode)))
def test_any_address(recipient):
    """Any bytes have one form at least, in lower case; the last one is as it would be delivered."""
    found = forms(recipient)
    assert found[-1] == delivered(recipient)
    assert all(form == form.lower() for form in found)
    assert forms(found[-1]) == (found[-1],) or found[-1].count(b"@") > 1


@pytest.mark.parametrize("state", [b"VRFY", b"ETRN"])
def test_no_delivery(state):
    """What delivers nothing is answered dunno, and nothing is learnt from it."""
    decision = screen(request(b"b@example.org", protocol_state=state), settings(), [])
    assert (decision.action, decision.reason, decision.warning) == (b"dunno", "no delivery", "")


@pytest.mark.parametrize("state", [b"CONNECT", b"HELO", b"MAIL", b"DATA", b"END-OF-MESSAGE"])
def test_a_stage_without_a_recipient(state):
    """Nobody can be greylisted there; it is said once a process."""
    what = request(b"", protocol_state=state)
    decision = screen(what, settings(), [])
    assert (decision.action, decision.once) == (b"dunno", True)
    assert "check_policy_service belongs in smtpd_recipient_restrictions" in decision.warning
