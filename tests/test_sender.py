from __future__ import annotations

import pathlib
import tomllib

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.sender import normalize

SCHEMES = tomllib.loads(pathlib.Path(__file__).with_name("senders.toml").read_text())["scheme"]
SAME = [(one, scheme["form"]) for scheme in SCHEMES for one in scheme["same"]]
OTHER = [pair for scheme in SCHEMES for pair in scheme["other"]]


def test_sources():
    """Each scheme has a source, addresses that are one sender, and pairs that are not."""
    for scheme in SCHEMES:
        assert scheme["source"]
        assert len(scheme["same"]) >= 2, scheme["name"]
        assert scheme["other"], scheme["name"]


@pytest.mark.parametrize(("sender", "form"), SAME)
def test_one_sender(sender, form):
    """What a machine changes from mail to mail is left out."""
    assert normalize(sender.encode()) == form.encode()


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_two_senders(one, other):
    """What tells two people, two lists or two customers apart is kept."""
    assert normalize(one.encode()) != normalize(other.encode())


@pytest.mark.parametrize("form", sorted({form for _, form in SAME}))
def test_normal_form(form):
    """A normal form is its own."""
    assert normalize(form.encode()) == form.encode()


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (b"", b""),
        (b"postmaster", b"postmaster"),
        (b"postmaster-1", b"postmaster-1"),
        (b"Joe@Example.COM", b"joe@example.com"),
        (b"user0@example.com", b"user0@example.com"),
        (b"joe.2nd@example.com", b"joe.2nd@example.com"),
        (b"+joe@example.com", b"+joe@example.com"),
        (b"prvs=@example.com", b"prvs=@example.com"),
        (b"list-owner@1234.example.com", b"list-owner@1234.example.com"),
        (b'"a@b"@example.com', b'"a@b"@example.com'),
        (b"joe@home+list@example.com", b"joe@home@example.com"),
        (b"j\xc3\xb6rg-1@example.com", b"j\xc3\xb6rg-1@example.com"),
        (b"\xff@example.com", b"\xff@example.com"),
    ],
)
def test_other_senders(sender, expected):
    """A name, a word with a digit in it, the domain and the null sender stay as they are."""
    assert normalize(sender) == expected


PARTS = sorted({part for sender, _ in SAME for part in sender.replace("@", "-").split("-")})


@hypothesis.settings(deadline=None)
@given(
    st.lists(st.sampled_from([*PARTS, "bounces", "joe=example.com", "12"]), max_size=6),
    st.sampled_from("-+_.="),
    st.sampled_from(sorted({sender.partition("@")[2] for sender, _ in SAME})),
)
def test_mixtures(parts, separator, domain):
    """Whatever the schemes' parts are put together to, there is a normal form."""
    sender = f"{separator.join(parts)}@{domain}".encode()
    assert len(normalize(sender)) <= len(sender)


@hypothesis.settings(deadline=None)
@given(st.binary(max_size=512))
def test_any_bytes(sender):
    """Any bytes have a normal form, no longer than they are."""
    assert len(normalize(sender)) <= len(sender)


@hypothesis.settings(deadline=None)
@given(
    st.sampled_from(
        [b"prvs=0123abcdef=", b"srs0=a=b=c.example=", b"SRS1=a=b.example==c=d=e.example="]
    ),
    st.integers(1, 40),
)
def test_nesting(prefix, times):
    """Schemes within schemes come to an end."""
    assert normalize((prefix * times)[:500] + b"joe@example.com").endswith(b"@example.com")
