from __future__ import annotations

import pytest

from greylist.screening import screen
from greylist.settings import Settings
from greylist.whitelist.lines import ATTRIBUTES, Line
from greylist.whitelist.matcher import Patterns, Whitelist


def request(**attributes: bytes) -> dict[bytes, bytes]:
    values = {
        b"client_address": b"192.0.2.1",
        b"client_name": b"mail.example.com",
        b"helo_name": b"helo.example.com",
        b"sender": b"a@example.com",
        b"recipient": b"b@example.org",
        b"sasl_username": b"",
    }
    values.update({name.encode(): value for name, value in attributes.items()})
    return values


def match(text: bytes, **attributes: bytes) -> Line | None:
    what = request(**attributes)
    patterns = Patterns(text)
    assert patterns.errors == []
    subject = b"/".join((what[b"client_address"], what[b"sender"], what[b"recipient"]))
    return patterns.match(subject, what)


@pytest.mark.parametrize(
    "line",
    [
        rb"client_name=\.example\.com$",
        rb"client_name=^MAIL\.",
        b"client_address=192.0.2.0/24",
        b"client_address=192.0.2",
        b"client_address=192.0.2.1",
        b"client_address=192.0.2.1-192.0.2.5,198.51.100.1-198.51.100.9",
        b"sender=^a@",
        b"recipient=@example.org$",
        b"helo_name=^helo",
        b"sasl_username=^$",
        b"client_name=mail(?!.*net)",
        b"192.0.2.1/a@",
        b"example.com/b@",
    ],
)
def test_match(line):
    """A line matches the attribute that it names, or as in the original all three."""
    assert match(line) == line


@pytest.mark.parametrize(
    "line",
    [
        rb"client_name=192\.0",
        b"client_name=^example",
        b"client_address=192.0.3.0/24",
        b"sender=example.org",
        b"recipient=example.com",
        b"reverse_client_name=.",
        b"sasl_username=.",
        b"# client_name=.",
        b"clientname=.",
    ],
)
def test_no_match(line):
    """A line matches no other attribute than its own, and none that the request lacks."""
    assert match(line) is None


def test_unverified_name():
    """A client whose name Postfix could not verify has no name to match."""
    assert match(b"client_name=unknown", client_name=b"unknown") is None
    assert match(b"client_name=.", client_name=b"unknown") is None
    assert match(b"reverse_client_name=unknown", reverse_client_name=b"unknown")


def test_ipv6_and_mapped():
    """Networks are IPv4 and IPv6, and an IPv4 client may come by an IPv6 socket."""
    text = b"client_address=2001:db8::/32\nclient_address=192.0.2.0/24"
    assert match(text, client_address=b"2001:db8::5").number == 1
    assert match(text, client_address=b"::ffff:192.0.2.5").number == 2
    assert match(text, client_address=b"2001:db9::5") is None
    assert match(text, client_address=b"unknown") is None


def test_the_line_is_known():
    """A match knows its line's number, attribute and file."""
    found = match(b"# comment\n\n  \nsender=zz\nsender=^A@")
    assert (found, found.number, found.attribute, found.path) == (b"sender=^A@", 5, b"sender", "")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"client_address=example.com", "neither an address nor a network"),
        (b"client_address=192.0.2.0/40", "the prefix length is out of range"),
        (b"client_address=", "matches everybody"),
        (b"sender=", "matches everybody"),
        (b"sender = ^a@", "white space beside the equals sign"),
        (b"sender= ^a@", "white space beside the equals sign"),
        (b"sender=(", ""),
    ],
)
def test_errors(line, reason):
    """A bad line is left out, with its number and the reason; the others count."""
    patterns = Patterns(b"sender=^z\n" + line + b"\nsender=^a@")
    assert [(number, reason in text) for number, text in patterns.errors] == [(2, True)]
    assert patterns.match(b"", request()).number == 3


def test_every_attribute_of_the_protocol():
    """Whatever attribute Postfix documents can be named."""
    for name in sorted(ATTRIBUTES - {b"client_address"}):
        assert Patterns(name + b"=^v$").match(b"", {name: b"v"}).attribute == name


def test_original_line_with_an_equals_sign():
    """A line that names no attribute is the original's, whatever is in it."""
    assert match(b"prvs=.*@example", sender=b"prvs=12=a@example.com").attribute == b""


def test_thousands_of_networks():
    """Thousands of networks beside expressions load, and the right line is found."""
    lines = [b"client_address=10.%d.%d.0/24" % divmod(number, 256) for number in range(10000)]
    patterns = Patterns(b"\n".join([*lines, b"client_name=^mail"]))
    assert patterns.errors == []
    assert patterns.match(b"", request(client_address=b"10.9.8.7")).number == 10001
    what = {b"client_address": b"10.9.8.7"}
    assert patterns.match(b"", what) == b"client_address=10.9.8.0/24"


def test_screen(tmp_path):
    """A whitelisted request is let through, for its client or its recipient, and says by what."""
    path = tmp_path / "nogreylist"
    path.write_bytes(b"recipient=^b@\nsender=^a@\n")
    whitelist = Whitelist(str(path), pytest.fail)
    decision = screen(request(), Settings(), [whitelist])
    assert (decision.action, decision.reason) == (b"dunno", "recipient whitelist")
    assert (decision.found, decision.found.path) == (b"recipient=^b@", str(path))
    decision = screen(request(recipient=b"c@example.org"), Settings(), [whitelist])
    assert (decision.reason, decision.found.number) == ("client whitelist", 2)
    assert (
        screen(request(recipient=b"c@example.org", sender=b"c@x"), Settings(), [whitelist]) is None
    )
