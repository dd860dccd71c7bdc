"""Log lines."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.log import Log, quote, unquote
from greylist.settings import Settings


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"user@example.com", "user@example.com"),
        (b"", ""),
        ("é@exämple.com".encode(), "é@exämple.com"),
        (b"a\nb", "a\\x0ab"),
        (b"a\\x41b", "a\\\\x41b"),
        (b"*@example.com", "\\x2a@example.com"),
        (b"b@[192.0.2.25]", "b@\\x5b192.0.2.25]"),
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


ODD = st.lists(st.sampled_from([b"\\", b"x", b"4", b"1", b"*", b" ", "é".encode(), b"\xc3", b"\n"]))


@given(st.one_of(st.binary(), ODD.map(b"".join)))
def test_what_is_shown_reads_back(value):
    """Every value reads back from its text, so that no two values are shown alike."""
    assert unquote(quote(value).encode()) == value


@given(st.one_of(st.binary(), ODD.map(b"".join)))
def test_anything_typed_is_some_value(text):
    """Whatever a person types stands for a value, and a text without a backslash for itself."""
    value = unquote(text)
    assert unquote(quote(value).encode()) == value
    assert b"\\" in text or value == text


def test_log_file(tmp_path):
    """Lines go to a file under the name and at the time, also after a rotation."""
    settings, log = Settings(), Log()
    settings.set("log", str(tmp_path / "log"))
    settings.set("syslog_name", "postgrey")
    log.configure(settings)
    log.info("one")
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.warning("two")
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \S+ postgrey\[\d+\]: "
    assert re.fullmatch(form + "one\n", (tmp_path / "log.1").read_text())
    assert re.fullmatch(form + "warning: two\n", (tmp_path / "log").read_text())


def test_a_log_file_that_is_somebody_elses_link(tmp_path):
    """No link is followed."""
    (tmp_path / "log").symlink_to(tmp_path / "target")
    settings, log = Settings(), Log()
    settings.set("log", str(tmp_path / "log"))
    log.configure(settings)
    log.info("one")
    assert not (tmp_path / "target").exists()


def test_quote_clips():
    """A value is clipped before it is quoted."""
    assert quote(b"x" * 600, 100) == "x" * 100
    assert quote("é".encode() * 60, 101).endswith("\\xc3")
