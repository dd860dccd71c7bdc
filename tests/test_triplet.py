"""Entries as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.triplet import Triplet, key, split_key

NUMBERS = st.integers(0, 10**11)


@given(st.integers(1, 10**11), NUMBERS, NUMBERS)
def test_pack_and_unpack(ctime, atime, count):
    """What is packed is unpacked the same."""
    triplet = Triplet(ctime, atime, count)
    assert Triplet.unpack(triplet.pack()) == triplet


def test_text_of_the_original():
    """The text is that of greylist.pl."""
    assert Triplet(1700000000).pack() == b"1700000000/0/0"
    assert Triplet(1700000000, 1700000300, 2).pack() == b"1700000000/1700000300/2"
    assert key(b"192.0.2.1", b"A@B", b"C@d") == b"192.0.2.1/a@b/c@d"
    assert key(b"192.0.2.1", b"", b"c@d") == b"192.0.2.1//c@d"


@pytest.mark.parametrize(
    "value", [b"", b"1", b"1/2", b"1/2/3/4", b"a/2/3", b"-1/2/3", b"0/0/0", b"1 /2/3", b"1/2/",
              b"1\x00/2/3", b"\xd9\xa1/2/3", b"1" * 100 + b"/0/0"],
)  # fmt: skip
def test_bad_values(value):
    """What is not three decimal numbers is a ValueError."""
    with pytest.raises(ValueError, match=r"."):
        Triplet.unpack(value)


PARTS = st.one_of(st.binary(), st.text("ab/%25f@").map(str.encode))


@given(st.tuples(PARTS, PARTS, PARTS), st.tuples(PARTS, PARTS, PARTS))
def test_keys_do_not_collide(one, other):
    """Two keys are equal only when their three parts are, but for ASCII case."""
    lower = tuple(part.lower() for part in one)
    assert split_key(key(*one)) == lower
    assert (key(*one) == key(*other)) == (lower == tuple(part.lower() for part in other))


def test_lower_case_is_ascii():
    """Only ASCII letters are lower-cased: the rest may be of any encoding."""
    assert key(b"X", "É".encode(), b"\xc9") == b"x/" + "É".encode() + b"/\xc9"
