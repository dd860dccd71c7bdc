"""The nogreylist file."""

from __future__ import annotations

import os
import time

import pytest

from greylist.whitelist.matcher import Patterns, Whitelist

KEY = b"192.0.2.1/sender@example.com/recipient@example.org"


@pytest.mark.parametrize(
    "line",
    [
        rb"^192\.0\.2\.",
        rb"/sender@example\.com/",
        rb"@example\.org$",
        rb"SENDER@EXAMPLE",
        rb"(sender|other)@",
        rb"^192\.0\.2\.1/.*@example\.org$",
        rb"^(?!10\.)",  # look-ahead: beyond RE2
        rb"(example)\.com.*\1\.org",  # back-reference: beyond RE2
        rb"(Example)\.com.*\1\.org",
        b"example\\.com/  ",
        b"example\\.com/\r",
    ],
)
def test_match(line):
    """A line is a regular expression, matched without anchors, ignoring case."""
    patterns = Patterns(b"^nobody$\n" + line + b"\n")
    assert patterns.match(KEY) == line.rstrip()
    assert patterns.errors == []


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# .*\n", b"#\n  \n\t\r\n", b"^10\\.\n(?!)\n"])
def test_nobody(text):
    """Comments and blank lines are nothing, and an empty file whitelists nobody."""
    patterns = Patterns(text)
    assert patterns.match(KEY) is None
    assert patterns.errors == []


def test_comment_only_in_column_one():
    """A number sign that is not in column 1 is part of the expression."""
    assert Patterns(b" #192").match(KEY) is None
    assert Patterns(b"a#b").match(b"1/a#b/c") == b"a#b"
    assert Patterns(b"#b").match(b"1/a#b/c") is None


def test_a_line_about_an_attribute_that_is_not_there():
    """Where nothing is known but the subject, a line that names an attribute matches nothing."""
    patterns = Patterns(b"sender=^sender@\nclient_address=192.0.2.1\n")
    assert patterns.match(KEY) is None
    assert patterns.match(KEY, {b"helo_name": b"mx.example.com"}) is None


def test_a_zero_far_into_a_list():
    """Only where a list begins with zeros it is no text; elsewhere they are a line's."""
    assert Patterns(b"^10\n" * 1024 + b"\0").errors == []
    assert Patterns(b"^10\n" * 1023 + b"^1\n\0").errors != []


def test_bad_lines_are_named_and_left_out():
    """A line that is no expression is reported with its number; the others stay."""
    patterns = Patterns(b"# one\n(sender\n*\n^192\\.\nrecipient)\n\\Q\n")
    assert [number for number, _ in patterns.errors] == [2, 3, 5]
    assert patterns.match(KEY) == b"^192\\."


@pytest.mark.parametrize("line", [b"\\Q192", b"(?i)nobody", b"zz|yy(?s)", b"z{1,2}"])
def test_a_line_does_not_leak_into_the_next(line):
    """Each line stands for itself, whatever it opens."""
    assert Patterns(line + b"\n@example\\.org$\n").match(b"10.0.0.1//c@example.org") is not None
    assert Patterns(line + b"\n@example\\.org$\n").match(b"10.0.0.1//c@example.net") is None


def test_first_line_wins():
    """When several lines match, the first one is named."""
    assert Patterns(b"nobody\nexample\n^192\n").match(KEY) == b"example"


def test_bytes_of_any_encoding():
    """Neither the file nor an address has to be UTF-8."""
    assert Patterns(b"/\xe9@").match(b"1/\xe9@x/y") is not None
    assert Patterns("/é@".encode()).match("1/é@x/y".encode()) is not None
    assert Patterns(b"^1/.*/y$").match(b"1/\xff\x00\xfe/y") is not None


def test_exponential_pattern():
    """A pattern that takes back-tracking matchers exponential time takes RE2 none."""
    patterns = Patterns(b"^(a+)+$\n^(a|aa)+$\n(x+x+)+y\n")
    start = time.process_time()
    assert patterns.match(b"a" * 1500 + b"!" + b"x" * 500) is None
    assert time.process_time() - start < 1


def test_many_lines():
    """Thousands of lines are one match, and the right one."""
    lines = [rb"^10\.%d\.%d\.\d+/.*@mail%d\." % (n // 256, n % 256, n) for n in range(20000)]
    patterns = Patterns(b"\n".join(lines))
    assert patterns.match(b"10.78.31.9/a@mail19999.example/c@d") == lines[19999]
    assert patterns.match(b"10.78.31.9/a@mail19998.example/c@d") is None


class Watched:
    """A whitelist file and what is said about it."""

    def __init__(self, path):
        self.path = path
        self.said = []
        self.whitelist = Whitelist(str(path), self.said.append)

    def match(self):
        return self.whitelist.match(KEY)


@pytest.fixture
def watched(tmp_path, at_once):
    return Watched(tmp_path / "nogreylist")


def test_missing_file(watched):
    """A missing file whitelists nobody, and is no error."""
    assert watched.match() is None
    assert watched.whitelist.match(b"xxxx") is None
    assert watched.said == []


def test_changes_are_noticed(watched):
    """A change of the file counts from the next request on: made, edited, replaced, removed."""
    assert watched.match() is None
    watched.path.write_bytes(b"sender")
    assert watched.match() == b"sender"
    watched.path.write_bytes(b"SENDER")
    assert watched.match() == b"SENDER"
    new = watched.path.with_suffix(".new")
    new.write_bytes(b"nobody")
    new.rename(watched.path)
    assert watched.match() is None
    watched.path.write_bytes(b"sender")
    assert watched.match() == b"sender"
    watched.path.unlink()
    assert watched.match() is None
    assert watched.said == []


def test_bad_line_is_said_once(watched):
    """A bad line is named with file and number when the file is read, not at each request."""
    watched.path.write_bytes(b"ok\n(\nsender\n")
    assert watched.match() == b"sender"
    assert watched.match() == b"sender"
    assert watched.said == [
        "nogreylist:2: missing ), unterminated subpattern at position 0; line left out"
    ]


def test_a_list_that_was_never_readable(watched):
    """Until it can be read, nobody is on it; that is what is said."""
    watched.path.mkdir()
    assert watched.match() is None
    assert watched.whitelist.match(b"xxxx") is None
    [said] = watched.said
    assert said.endswith("not a regular file; nobody is on it until it can be")


def test_a_list_that_is_expected(tmp_path, at_once):
    """That the file of such a list is missing is said each time that it goes."""
    path, said = tmp_path / "only", []
    whitelist = Whitelist(str(path), said.append, expected=True)
    assert whitelist.match(KEY) is None
    assert said == [f"{path} does not exist: nobody is on that list"]
    path.write_bytes(b"sender")
    assert whitelist.match(KEY) == b"sender"
    path.unlink()
    assert whitelist.match(KEY) is None
    assert said == [f"{path} does not exist: nobody is on that list"] * 2


def test_lines_are_shown(tmp_path, at_once):
    """Whoever asks for them gets the lines, without comments, as they are read."""
    path, shown = tmp_path / "list", []
    path.write_bytes(b"# a comment\n sender \n\n#another\n^10\\.#5\n")
    whitelist = Whitelist(str(path), print, show=shown.append)
    whitelist.match(KEY)
    whitelist.match(KEY)
    assert shown == [b"sender|^10\\.#5"]


@pytest.mark.parametrize("kind", ["directory", "fifo", "loop"])
def test_unreadable_file_keeps_the_list(watched, kind):
    """A file that becomes unreadable keeps the last good list, and says so once."""
    watched.path.write_bytes(b"sender")
    assert watched.match() == b"sender"
    watched.path.unlink()
    if kind == "directory":
        watched.path.mkdir()
    elif kind == "fifo":
        os.mkfifo(watched.path)
    else:
        watched.path.symlink_to(watched.path)
    assert watched.match() == b"sender"
    assert watched.match() == b"sender"
    [said] = watched.said
    assert said.startswith(f"cannot read {watched.path}: ")
    assert said.endswith("; keeping the list as it was")
