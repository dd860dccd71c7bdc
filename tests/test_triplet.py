"""Entries as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist import triplet
from greylist.triplet import (
    CLIENT_MAX,
    INSTANCE_MAX,
    KEY_MAX,
    Triplet,
    client_key,
    clip,
    escape,
    instance_key,
    key,
    pool_key,
    reply_key,
    sender_key,
    split_credit,
    split_key,
    stands_for,
    whole_key,
)

NUMBERS = st.integers(0, 10**11)


@given(st.integers(1, 10**11), NUMBERS, NUMBERS)
def test_pack_and_unpack(ctime, atime, count):
    """What is packed is unpacked the same."""
    entry = Triplet(ctime, atime, count)
    assert Triplet.unpack(entry.pack()) == entry


def test_text_of_the_original():
    """The text is that of greylist.pl."""
    assert Triplet(1700000000).pack() == b"1700000000/0/0"
    assert Triplet(1700000000, 1700000300, 2).pack() == b"1700000000/1700000300/2"
    assert key(b"192.0.2.1", b"A@B", b"C@d") == b"192.0.2.1/a@b/c@d"
    assert key(b"192.0.2.1", b"", b"c@d") == b"192.0.2.1//c@d"
    assert key(b"192.0.2.1", b"a%b@x", b"c%2f/@d") == b"192.0.2.1/a%b@x/c%2f/@d"
    assert key(b"192.0.2.1", b"a/b%@x", b"c@d") == b"192.0.2.1/a%2fb%25@x/c@d"
    assert key(b"192.0.2.1", b"a%2F@x", b"c@d") == b"192.0.2.1/a%252f@x/c@d"


@pytest.mark.parametrize(
    "value", [b"", b"1", b"1/2", b"1/2/3/4", b"a/2/3", b"-1/2/3", b"0/0/0", b"1 /2/3", b"1/2/",
              b"1\x00/2/3", b"\xd9\xa1/2/3", b"1" * 61 + b"/0/0"],
)  # fmt: skip
def test_bad_values(value):
    """What is not three decimal numbers is a ValueError."""
    reasons = r"^(not three decimal numbers|no first attempt|.* values to unpack \(.*)$"
    with pytest.raises(ValueError, match=reasons):
        Triplet.unpack(value)


def test_longest_value():
    """A value has at most 64 bytes."""
    assert Triplet.unpack(b"1" * 60 + b"/0/0").ctime == int("1" * 60)


PARTS = st.one_of(st.binary(), st.text("ab/%25f@").map(str.encode))


@given(st.tuples(PARTS, PARTS, PARTS), st.tuples(PARTS, PARTS, PARTS))
def test_keys_do_not_collide(one, other):
    """Two keys are equal only when their three parts are, but for ASCII case."""
    lower = tuple(part.lower() for part in one)
    if len(whole_key(*one)) <= KEY_MAX:
        assert split_key(key(*one)) == lower
    assert (key(*one) == key(*other)) == (lower == tuple(part.lower() for part in other))


def test_lower_case_is_ascii():
    """Only ASCII letters are lower-cased: the rest may be of any encoding."""
    assert key(b"X", "É".encode(), b"\xc9") == b"x/" + "É".encode() + b"/\xc9"


LONG_PARTS = st.one_of(
    st.binary(max_size=520),
    st.text("ab~0%25f/@.", max_size=60).map(str.encode),
    st.builds(
        bytes.__mul__, st.sampled_from([b"a", b"@", b"/", b"~", b"x@y."]), st.integers(0, 512)
    ),
)


@given(st.tuples(LONG_PARTS, LONG_PARTS, LONG_PARTS), st.tuples(LONG_PARTS, LONG_PARTS, LONG_PARTS))
def test_keys_are_bounded(one, other):
    """However long the parts are, the key is short, and theirs alone."""
    lower = [tuple(part.lower() for part in parts) for parts in (one, other)]
    assert len(key(*one)) <= KEY_MAX
    assert (key(*one) == key(*other)) == (lower[0] == lower[1])
    for stored, part in zip(split_key(key(*one)), lower[0], strict=True):
        assert stored == part or stands_for(stored, part)
    assert len(client_key(one[0])) <= len(b"/client/") + CLIENT_MAX
    assert len(instance_key(one[0])) <= len(b"/instance/") + INSTANCE_MAX


def test_a_key_that_is_short_enough():
    """No part is clipped, however long it is, as long as the key is not."""
    parts = b"c" * 60, b"s" * 11, b"r" * (KEY_MAX - 73)
    assert key(*parts) == b"%s/%s/%s" % parts
    assert key(*parts[:2], parts[2] + b"r") != whole_key(*parts[:2], parts[2] + b"r")


def test_clipped_parts_stay_readable():
    """Of a long address the beginning and the domain are there, and the form never changes."""
    long = b"bounces+0123456789-abcdef-%s@mail.example.com" % (b"x" * 400)
    sender = b"bounces+0123456789-abcdef-xx~cbc3bf5b0343@mail.example.com"
    assert key(b"192.0.2.0", long, b"bob@example.org") == b"192.0.2.0/%s/bob@example.org" % sender
    domain = b"a@" + b"example." * 40
    parts = split_key(key(b"192.0.2.0", domain, b"b" * 500))
    assert parts[1:] == (
        b"a@exa~4473dede3f87e.example.example.",
        b"bbbbbb~0e30e009ca72" + b"b" * 18,
    )
    assert (
        clip(b"mx." * 50 + b"example.com", CLIENT_MAX)
        == b"mx.mx.~6ce5bb9af084.mx.mx.mx.example.com"
    )
    assert clip(b"x" * 50 + b"@example.com", 13) == b"~605cb4012da2"
    assert clip(b"a~0123456789ab", CLIENT_MAX) == b"a-0123~9b8cfc1a5c61a-0123456789ab"
    assert (
        clip(b"~" * 50 + b"@~" + b"~" * 50, CLIENT_MAX)
        == b"------~a4f162ea2850---------------------"
    )


@pytest.mark.parametrize(
    "part",
    [b"a~b@example.com", b"~", b"a~0123456789a@example.com", b"a~~0123456789ab@example.com"],
)
def test_tildes(part):
    """A tilde is as good as any other character; only what looks like a digest is clipped."""
    assert key(b"192.0.2.0", part, part) == whole_key(b"192.0.2.0", part, part)
    clipped = clip(b"x" * 500, 40)
    assert split_key(key(b"192.0.2.0", clipped, b"b"))[1] != clipped
    assert not stands_for(part, part)
    assert not stands_for(clipped, b"y" * 500)


def test_clipped_part_with_a_slash():
    """What is clipped is found by the address, and by its form in a key, which is escaped."""
    part = b"A/" + b"x" * 90 + b"@example.com"
    stored = split_key(key(b"192.0.2.0", part, b"b@example.org"))[1]
    assert stands_for(stored, part)
    assert stands_for(stored, escape(part))
    assert not stands_for(stored, part.replace(b"/", b"%2f", 1) + b"x")


def test_first_digest(monkeypatch):
    """The function of the digest is loaded when the first key needs it."""
    expected = pool_key(b"example.com", b"a@x", b"b@y")
    monkeypatch.setattr(triplet, "_blake2b", None)
    assert pool_key(b"example.com", b"a@x", b"b@y") == expected
    assert pool_key(b"example.com", b"a@x", b"c@y") != expected


@pytest.mark.parametrize(
    ("name_of", "arguments", "name", "parts"),
    [
        (client_key, [b"192.0.2.0"], b"/client/192.0.2.0", (b"192.0.2.0", b"", b"")),
        (client_key, [b"Example.COM"], b"/client/example.com", (b"example.com", b"", b"")),
        (sender_key, [b"Example.COM", b"A/b@x"], b"/sender/example.com/a%2fb@x",
         (b"example.com", b"a/b@x", b"")),
        (sender_key, [b"192.0.2.0", b""], b"/sender/192.0.2.0/", (b"192.0.2.0", b"", b"")),
        (reply_key, [b"A@x", b"B/c@y"], b"/reply/a@x/b/c@y", (b"", b"a@x", b"b/c@y")),
    ],
)  # fmt: skip
def test_parts_of_a_credit(name_of, arguments, name, parts):
    """The key of a credit tells whose it is."""
    assert name_of(*arguments) == name
    assert split_credit(name) == parts


def test_a_credit_is_bounded():
    """What is long in the key of a credit is clipped to what is left, and no more than that."""
    long, client = b"a" * 500 + b"@example.com", b"192.0.2.0"
    assert len(client_key(b"mx." + long)) == len(b"/client/") + CLIENT_MAX
    assert len(sender_key(client, long)) == len(b"/sender/") + KEY_MAX
    assert len(sender_key(long, long)) == len(b"/sender/") + KEY_MAX
    just = b"s" * (KEY_MAX - len(client) - 1)
    assert sender_key(client, just) == b"/sender/%s/%s" % (client, just)
    assert len(reply_key(long, long)) == len(b"/reply//") + KEY_MAX
    assert reply_key(b"a" * 42, b"b" * 42) == b"/reply/%s/%s" % (b"a" * 42, b"b" * 42)


def test_instances():
    """The key of a message, and of one of its recipients."""
    assert instance_key(b"12.ab.0") == b"/instance/12.ab.0"
    assert instance_key(b"12.ab.0", b"Bob@example.org") == b"/instance/12.ab.0/bob@example.org"


def test_no_credit():
    """What is no key of a credit is a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        split_credit(b"/sender/x")


def test_triplets_are_values():
    """Two with the same text are one, in a set as well; they show what they hold."""
    one, other = Triplet(1, 2, 3, passed=True), Triplet(1, 2, 3)
    assert len({one, other, Triplet(1, 2, 3, passed=True)}) == 2
    assert repr(one) == "Triplet(1, 2, 3, True)"
    assert hash(one) != hash(other)
    assert one != b"1/2/03"
