"""Many expressions at once, more of them than RE2 takes into one set."""

from __future__ import annotations

import subprocess
import sys

import pytest

from greylist.whitelist import regex
from greylist.whitelist.matcher import Patterns
from greylist.whitelist.regex import Expressions, escape


@pytest.fixture
def small(monkeypatch):
    """RE2 with little memory."""
    monkeypatch.setattr(regex, "_MEMORY", 1 << 18)


def compiled(lines):
    several = Expressions()
    for number, line in enumerate(lines):
        several.add(line, number)
    several.compile()
    return several


def test_several_sets(small):
    """Lines that are too many for one set match as they would in one, the first one first."""
    several = compiled([b"(x|y)%d\\.example\\.(net|org)$" % number for number in range(300)])
    assert len(several._sets) > 2
    for number in 0, 149, 150, 299:
        assert several.match(b"Y%d.example.org" % number) == number
    assert several.match(b"y300.example.org") is None
    twice = compiled([b"(x|y)%d\\.example\\.(net|org)$" % number for number in range(300)] * 2)
    assert twice.match(b"y7.example.net") == 7


def test_line_too_large(small):
    """A line that RE2 has no memory for is matched all the same."""
    large = b"[a-z]{900}" * 20 + b"[0-9]"
    several = compiled([b"(a|b)", large, b"(c|d)"])
    assert several.slow == [1]
    assert several.match(b"x" * 18000 + b"7") == 1
    assert several.match(b"-d-") == 2
    assert several.match(b"x" * 17999 + b"7") is None


def test_line_that_nobody_takes(small):
    """A line too large for RE2 that is no expression elsewhere is left out by itself."""
    text = b"(?:\\pL|[0-9][0-9]){900}[a-z]{500}\n^192\\.0\\.2\\.1/\n"
    patterns = Patterns(text)
    assert [number for number, _ in patterns.errors] == [1]
    assert patterns.match(b"192.0.2.1/a@example.com/b@example.org").number == 2


def test_tens_of_thousands_of_lines():
    """A whitelist may be as long as it likes."""
    text = b"".join(b"^(10|11)\\.%d\\.%d[.]?\\d*/\n" % divmod(n, 250) for n in range(40_000))
    patterns = Patterns(text)
    assert not patterns.errors
    line = patterns.match(b"11.159.249.1/sender@example.com/recipient@example.org")
    assert line is not None
    assert line.number == 40_000
    assert patterns.match(b"12.159.249.1/sender@example.com/recipient@example.org") is None


def test_lines_that_match_all(small):
    """They are found in each of several sets."""
    lines = [b"(x|y)%d\\.example\\.(net|org)$" % number for number in range(300)]
    several = compiled([b".", *lines, b"(a|)"])
    assert len(several._sets) > 1
    assert several.matching_all((b"a", b"b")) == [0, 301]


def test_silence(capfd):
    """RE2 says nothing about a line that it does not take: standard error may be the wire."""
    with pytest.raises(ValueError, match="unterminated"):
        Expressions().add(b"(", 7)
    assert capfd.readouterr().err == ""


def test_escape(monkeypatch):
    """A text stands for itself in an expression, with RE2 and without."""
    assert escape(b"a.b\0") == b"a\\.b\\x00"
    monkeypatch.setattr(regex, "re2", None)
    assert escape(b"a.b") == b"a\\.b"


WITHOUT = """
import sys
sys.modules["re2"] = sys.modules["re2._re2"] = None
from greylist.whitelist.regex import Expressions, escape
expressions = Expressions()
expressions.add(rb"^mail\\.", 1)
expressions.add(escape(b"a.b") + b"$", 2)
assert expressions.compile() == []
assert expressions.match(b"MAIL.example.com") == 1
assert expressions.match(b"x.a.b") == 2
assert expressions.match("a\u00e4b".encode()) is None
try:
    expressions.add(b"(", 3)
except ValueError:
    print("held")
"""


def test_without_re2():
    """Where RE2 is missing, as after a new Python of the system, every line still holds."""
    command = [sys.executable, "-c", WITHOUT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "held\n", done.stderr
