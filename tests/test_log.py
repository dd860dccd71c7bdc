"""Log lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.log import quote


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"user@example.com", "user@example.com"),
        (b"", ""),
        ("é@exämple.com".encode(), "é@exämple.com"),
        (b"a\nb", "a\\nb"),
        (b"a\x00b", "a\\x00b"),
        (b"\xff", "\\xff"),
        (b"a, recipient=b", "a,\\x20recipient=b"),
        ("a\u2028b\u202e".encode(), "a\\xe2\\x80\\xa8b\\xe2\\x80\\xae"),
        (b"'\"", "'\""),
    ],
)
def test_quote(value, text):
    """A value that could be mistaken is escaped; any other stands as it is."""
    assert quote(value) == text


@given(st.binary())
def test_no_value_forges_a_line(value):
    """Whatever the value, its text is printable, has no space and can be encoded."""
    text = quote(value)
    assert text == "" or (text.isprintable() and " " not in text)
    text.encode()


def test_quote_clips():
    """A value is clipped before it is quoted."""
    assert quote(b"x" * 600, 100) == "x" * 100
    assert quote("é".encode() * 60, 101).endswith("\\xc3")
