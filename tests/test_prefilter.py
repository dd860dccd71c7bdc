"""The words that a line asks for, and the subjects that have them."""

from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.whitelist.matcher import Patterns
from greylist.whitelist.prefilter import PATIENCE, Prefilter, required
from greylist.whitelist.regex import Expressions


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (rb"^192\.0\.2\.", [b"192", b"0", b"2"]),
        (rb"^192[.]0[.]2[.]1", [b"192", b"0", b"2"]),
        (rb"192\.0\.2\.1/", [b"0", b"2", b"1"]),
        (b"^2001:DB8:", [b"2001", b"db8"]),
        (b"/postmaster@[^/]*$", [b"postmaster"]),
        (rb"[@.]mail-3\.example\.org$", [b"mail", b"3", b"example", b"org"]),
        (rb"@lists[0-9]+\.example\.[a-z]+$", [b"example"]),
        (b"/sender@example.com/", [b"sender"]),
        (b"^.*/a@b/.*$", [b"a", b"b"]),
    ],
)
def test_required(pattern, words):
    """What stands between two characters of no word is a word of all that matches."""
    assert required(pattern) == words


@pytest.mark.parametrize(
    "pattern",
    [
        b"", b"^$", b".", b".*", b"example", b"example.com", b"^10", b"10$",
        b"/a|b/", b"/(a)/", b"/a?/", b"/a*/", b"/a{2}/", b"/[ab]/", b"(?i)/a/", rb"/\w/",
        b"/a/*", b"/a/.*?", b"/a/.**", rb"/a/\.*", rb"/a/\\.", rb"/a/\$", b"/a/^", b"$/a/", b"/a/(",
        rb"/a/\[^/]*", rb"/a/\\d+", rb"/a/\Q.\E", b"/\xe9/a/", b"/a\0b",
        b"^/a/\t$",
    ],
)  # fmt: skip
def test_none_required(pattern):
    """An expression with anything else in it, or without such words, is RE2's business."""
    assert required(pattern) == []


PIECES = [b"a", b"K", b"12", b"/", b"@", b".", b":", b"-", b"_", b" ", b"\0", b"\xe9"]
IDIOMS = [rb"\.", b"[.]", b"[@.]", b"[^/]*", b"[^@]+", b"[a-z]+", b"[A-Z]+", rb"\d+", b".*"]
SPECIAL = [
    b"^",
    b"$",
    b"\\",
    b"(",
    b")",
    b"|",
    b"?",
    b"*",
    b"+",
    b"[",
    b"]",
    rb"\w",
    b"{2}",
    rb"\D+",
]


def outcome(one, pattern, subjects):
    try:
        one.add(pattern, 7)
    except ValueError as error:
        return str(error)
    one.compile()
    return [one.match(subject) for subject in subjects]


@hypothesis.settings(deadline=None, max_examples=1000)
@given(
    st.sampled_from([b"", b"^", b"^a/", b"/k@"]),
    st.lists(st.sampled_from([*PIECES * 3, *IDIOMS * 3, *SPECIAL]), max_size=7).map(b"".join),
    st.lists(st.lists(st.sampled_from(PIECES), max_size=8).map(b"".join), max_size=20),
)
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of re, about sets within sets
def test_sound(start, rest, subjects):
    """With the sieve before them, expressions match what they match without, errors included."""
    pattern = start + rest
    # What the expression says itself is likely to match it.
    likely = pattern.strip(b"^$").replace(b"\\.", b".").replace(b"[.]", b".")
    subjects += [likely, *[likely + subject for subject in subjects]]
    expressions = Expressions()
    assert outcome(Prefilter(), pattern, subjects) == outcome(expressions, pattern, subjects)
    assert not (expressions.slow and required(pattern))


@pytest.mark.parametrize(
    ("lines", "first"),
    [
        ([b"/nobody@", b"/sender@", b"192"], b"/sender@"),
        ([b"/nobody@", b"192", b"/sender@"], b"192"),
        ([b"(198|192)", b"/sender@"], b"(198|192)"),
        ([b"/nobody@", b"(198)", b"(?!x)y", b"/sender@"], b"/sender@"),
    ],
)
def test_order(lines, first):
    """The first line that matches is named, whether it has words or not."""
    subject = b"192.0.2.1/Sender@example.com/recipient@example.org"
    assert Patterns(b"\n".join(lines)).match(subject) == first


def test_many_lines_with_a_common_word():
    """A word of thousands of lines is enough for none of them."""
    sieve = Prefilter()
    for number in range(5000):
        sieve.add(b"@host%d\\.example\\.org$" % number, number)
    assert sieve.match(b"192.0.2.1/a@host1.example.com/b@example.org") is None
    assert sieve.match(b"192.0.2.1/a@b/c@HOST4999.example.org") == 4999
    assert sieve.match(b"192.0.2.1/a@b/c@host5000.example.org") is None


def test_patience():
    """After a thousand subjects that match nothing, RE2 takes over, and finds the same."""
    one = Prefilter()
    one.add(b"/sender@", 7)
    for number in range(PATIENCE):
        assert one._expressions is None, number
        assert one.match(b"192.0.2.1/other@example.com/recipient@example.org") is None
    assert one._expressions is not None
    assert one.match(b"192.0.2.1/Sender@example.com/recipient@example.org") == 7
