from __future__ import annotations

import re

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.sender import normalize


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # BATV, draft-levine-smtp-batv-01: the key's number, the day, the signature.
        (b"prvs=0123abcdef=joe@example.com", b"prvs=1987fedcba=joe@example.com",
         b"joe@example.com"),
        (b"prvs=joe=0123abcdef@example.com", b"prvs=joe=1987fedcba@example.com",
         b"joe@example.com"),
        (b"PRVS=0123ABCDEF=Joe@Example.COM", b"prvs=0124abcdef=joe@example.com",
         b"joe@example.com"),
        (b"prvs=0123abcdef=a=b@example.com", b"prvs=0124abcdef=a=b@example.com",
         b"a=b@example.com"),
        # SRS, as libsrs2 writes it, with each of its separators.
        (b"SRS0=HHHH=TT=origin.example=joe@fwd.example",
         b"SRS0=abcd=T6=origin.example=joe@fwd.example",
         b"srs0=origin.example=joe@fwd.example"),
        (b"SRS0+HHHH=TT=origin.example=joe@fwd.example",
         b"SRS0-xy+/=AB=origin.example=joe@fwd.example",
         b"srs0=origin.example=joe@fwd.example"),
        (b"SRS1=HHHH=first.example==AAAA=TT=origin.example=joe@fwd.example",
         b"SRS1=zzzz=first.example==BBBB=UU=origin.example=joe@fwd.example",
         b"srs1=first.example=origin.example=joe@fwd.example"),
        (b"SRS1+HHHH=first.example=+AAAA=TT=origin.example=joe@fwd.example",
         b"SRS1-zzzz=first.example=-BBBB=UU=origin.example=joe@fwd.example",
         b"srs1=first.example=origin.example=joe@fwd.example"),
        # A tag within a rewritten address.
        (b"SRS0=HHHH=TT=origin.example=prvs=0123abcdef=joe@fwd.example",
         b"SRS0=HHHH=TU=origin.example=prvs=0124abcdef=joe@fwd.example",
         b"srs0=origin.example=joe@fwd.example"),
        # VERP: ezmlm's, Mailman's, and what bulk senders make of it.
        (b"list-return-1234-joe=example.com@lists.example",
         b"list-return-1235-joe=example.com@lists.example",
         b"list-return-#-joe=example.com@lists.example"),
        (b"list-bounces+joe=example.com@lists.example", b"list-bounces@lists.example",
         b"list-bounces@lists.example"),
        (b"bounce_17_2009@news.example", b"bounce_18_2010@news.example",
         b"bounce_#_#@news.example"),
        (b"bounces-0a1b2c3d4e@news.example", b"bounces-99887766ff@news.example",
         b"bounces-#@news.example"),
        (b"0100018c1d2e3f4a-1a2b3c4d-5e6f-7890-abcd-ef0123456789-000000@eu-west-1.amazonses.com",
         b"0102019c1d2e3f4b-2a2b3c4d-6e6f-8890-bbcd-af0123456789-000000@eu-west-1.amazonses.com",
         b"#-#-#@eu-west-1.amazonses.com"),
        # user+extension, RFC 5233.
        (b"joe+monday@example.com", b"joe+tuesday@example.com", b"joe@example.com"),
    ],
)  # fmt: skip
def test_one_sender(one, other, expected):
    """What changes from mail to mail is left out, so that both are the same sender."""
    assert normalize(one) == expected
    assert normalize(other) == expected


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (b"", b""),
        (b"postmaster", b"postmaster"),
        (b"Joe@Example.COM", b"joe@example.com"),
        (b"user0@example.com", b"user0@example.com"),
        (b"joe.2nd@example.com", b"joe.2nd@example.com"),
        (b"+joe@example.com", b"+joe@example.com"),
        (b"prvs=joe@example.com", b"prvs=joe@example.com"),
        (b"prvs=@example.com", b"prvs=@example.com"),
        (b"srs0=a=b@example.com", b"srs0=a=b@example.com"),
        (b"srs1=a=b=c@example.com", b"srs1=a=b=c@example.com"),
        (b"decade@example.com", b"decade@example.com"),
        (b"list-owner@1234.example.com", b"list-owner@1234.example.com"),
        (b'"a@b"@example.com', b'"a@b"@example.com'),
        (b"j\xc3\xb6rg-1@example.com", b"j\xc3\xb6rg-#@example.com"),
        (b"\xff@example.com", b"\xff@example.com"),
    ],
)
def test_other_senders(sender, expected):
    """A name, a word with a digit in it, the domain and the null sender stay as they are."""
    assert normalize(sender) == expected


IDENTIFIER = re.compile(rb"\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9]+|[0-9a-f]{8,})\b")
UUID = b"1a2b3c4d-5e6f-7890-abcd-ef0123456789"
WORDS = [
    b"1",
    b"1234",
    b"abcd",
    b"deadbeef",
    b"123456abcdef",
    b"z",
    b"-",
    b"--",
    b"_",
    b".",
    b"\xe9",
]


@hypothesis.settings(deadline=None)
@given(st.lists(st.sampled_from([*WORDS, UUID, UUID.replace(b"-", b".")])).map(b"".join))
def test_identifiers(local):
    """What becomes a number sign is what an expression says, an underscore parting words."""
    local = b"no-1-" + local  # not one word, which might be a name
    expected = b"_".join(IDENTIFIER.sub(b"#", part) for part in local.split(b"_"))
    assert normalize(local + b"@example.com") == expected + b"@example.com"


@hypothesis.settings(deadline=None)
@given(st.binary(max_size=512))
def test_any_bytes(sender):
    """Any bytes have a normal form, which is its own normal form's in length or shorter."""
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
