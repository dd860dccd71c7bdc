"""The reader of mail logs, on lines in every form that is known."""

from __future__ import annotations

import calendar
import json
import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.commands.logs.clock import Clock
from greylist.commands.logs.layout import split
from greylist.commands.logs.maillog import Reader
from greylist.commands.logs.pasted import attempts

HERE = Path(__file__).parent
LAYOUTS = tomllib.loads((HERE / "layouts.toml").read_text(encoding="utf-8"))
MAIL = tomllib.loads((HERE / "mail.toml").read_text(encoding="utf-8"))["case"]
END = calendar.timegm((2026, 11, 22, 0, 0, 0))
REFUSED = (
    "NOQUEUE: reject: RCPT from mail.example.com[192.0.2.1]: 450 4.2.0 <b@example.org>: Recipient "
    "address rejected: Greylisted; from=<a@example.com> to=<b@example.org> proto=ESMTP helo=<m>"
)


@pytest.fixture(autouse=True)
def universal_time(monkeypatch):
    """Let local time be UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def filled(layout):
    """Return a layout's line with a refusal in it."""
    if "json" not in layout:
        return layout["line"].replace("{text}", REFUSED).encode()
    fields = {
        name: list(REFUSED.encode()) if value == ["{text}"] else value.replace("{text}", REFUSED)
        for name, value in layout["json"].items()
    }
    return json.dumps(fields).encode()


@pytest.mark.parametrize("layout", LAYOUTS["layout"], ids=lambda layout: layout["source"])
def test_each_layout_is_read(layout):
    """Time and refusal are found, whatever stands around them; the line is Postfix's."""
    reader = Reader()
    read = reader.read([filled(layout) + b"\n"], END)
    assert (read.postfix, read.others, read.unread.count) == (1, 0, 0)
    (attempt,) = reader.attempts()
    assert attempt.time == layout["time"].timestamp()
    assert not attempt.accepted
    assert attempt.request[b"client_address"] == b"192.0.2.1"
    assert attempt.request[b"helo_name"] == b"m"


@pytest.mark.parametrize("layout", LAYOUTS["layout"], ids=lambda layout: layout["source"])
def test_each_layout_can_be_explained(layout):
    """What replay reads, explain reads."""
    (pasted,) = attempts([filled(layout)])
    assert pasted.request[b"recipient"] == b"b@example.org"


def test_lines_of_others_are_known():
    """Other programs' lines are neither Postfix's nor unknown."""
    lines = [other["line"].encode() + b"\n" for other in LAYOUTS["other"]]
    read = Reader().read(lines, END)
    assert (read.postfix, read.others, read.unread.count) == (0, len(lines), 0)


@pytest.mark.parametrize("layout", LAYOUTS["unread"], ids=lambda layout: layout["line"])
def test_what_is_not_understood_is_counted(layout):
    """A line without a time, or with a date that does not exist, is counted, with a reason."""
    reader = Reader()
    read = reader.read([b"\n", filled(layout) + b"\n"], END)
    assert (read.postfix, read.unread.count, read.unread.number) == (0, 1, 2)
    assert layout["says"] in read.unread.reason
    assert reader.attempts() == []


def lines_of(case):
    """Return a case's lines in the common layout, and the time of the first one."""
    seconds = start = calendar.timegm((2026, 11, 2, 10, 0, 0))
    lines = []
    for line in case["lines"]:
        if line.isdigit():
            seconds += int(line)
            continue
        agent, _, text = line.partition(" ")
        stamp = time.strftime("%b %d %H:%M:%S", time.gmtime(seconds))
        lines.append(f"{stamp} mx postfix/{agent}[7]: {text}\n".encode())
    return lines, start


def as_rows(found, start):
    """Return attempts as a case has them."""
    rows = []
    for attempt in found:
        names = (b"client_address", b"sender", b"recipient")
        fields = [attempt.request[name].decode() for name in names]
        rows.append([attempt.time - start, *fields, attempt.accepted])
    return rows


@pytest.mark.parametrize("case", MAIL, ids=lambda case: case["name"])
def test_the_mail_in_a_log(case):
    """What greylisting is asked about is an attempt; whatever is somebody else's is none."""
    lines, start = lines_of(case)
    reader = Reader()
    read = reader.read(lines, END)
    assert read.unread.count == 0, read.unread.line
    found = [
        attempt
        for attempt in reader.attempts()
        if not attempt.request[b"client_address"].startswith(b"127.")
    ]
    assert as_rows(found, start) == case["attempts"]
    assert reader.logins == case.get("logins", 0)
    assert reader.untold == case.get("untold", 0)


@pytest.mark.parametrize("case", MAIL, ids=lambda case: case["name"])
def test_a_log_that_is_there_twice(case):
    """Lines that a syslogd wrote into several files: each attempt counts once."""
    lines, _ = lines_of(case)
    once, twice = Reader(), Reader()
    once.read(lines, END)
    for _ in range(2):
        twice.read(lines, END)
    assert twice.attempts() == once.attempts()


@pytest.mark.parametrize(
    ("end", "stamps", "years"),
    [
        ((2026, 11, 22), ["Nov  2 10:00:00"], [2026]),
        ((2027, 1, 3), ["Dec 31 23:59:59", "Jan  1 00:00:00"], [2026, 2027]),
        ((2027, 1, 3), ["Jan  1 00:00:00"], [2027]),
        ((2027, 1, 3), ["Nov  1 00:00:00"], [2026]),
        ((2024, 3, 1), ["Feb 29 12:00:00"], [2024]),
        ((2026, 3, 1), ["Feb 28 12:00:00", "Feb 29 12:00:00", "Mar  1 00:00:00"], [2024] * 3),
        ((2025, 3, 1), ["Mar  1 12:00:00", "Feb 28 12:00:00"], [2025, 2025]),
        ((2026, 2, 1), ["Nov  1 00:00:00", "Jul  1 00:00:00"], [2025] * 2),
        (
            (2026, 11, 22),
            [f"{month}  1 00:00:00" for month in ("Nov", "Jan", "Jun", "Dec", "Jan")],
            [2024, 2025, 2025, 2025, 2026],
        ),
        (
            (2026, 1, 2),
            ["Dec 31 23:59:58", "Jan  1 00:00:00", "Dec 31 23:59:59"],
            [2025, 2026, 2025],
        ),
        ((2026, 1, 2), ["Dec 31 2019 23:59:60", "Nov  2 2025 00:00:00"], [2019, 2025]),
    ],
)
def test_the_year_follows_from_the_end(end, stamps, years):
    """A log without years ended when its file was last written to."""
    clock = Clock(calendar.timegm((*end, 0, 0, 0)))
    parts = [split(stamp.encode() + b" mx postfix/smtpd[1]: x") for stamp in stamps]
    moments = [clock.read(stamp) for stamp, _, _ in parts]
    assert [time.gmtime(clock.seconds(moment)).tm_year for moment in moments] == years


PIECES = [line for case in MAIL for line in lines_of(case)[0]]
PIECES += [filled(layout) for kind in ("layout", "unread") for layout in LAYOUTS[kind]]


@st.composite
def mangled(draw):
    """Draw a line with something left out, put in, or of another line."""
    one, two = draw(st.sampled_from(PIECES)), draw(st.sampled_from(PIECES))
    start, end = draw(st.integers(0, len(one))), draw(st.integers(0, len(two)))
    return one[:start] + draw(st.binary(max_size=6)) + two[end:]


@given(st.lists(st.one_of(mangled(), st.binary(max_size=80), st.sampled_from(PIECES)), max_size=8))
def test_any_bytes_are_read(lines):
    """Any line is understood, known to be none of Postfix's, or counted; nothing is raised."""
    reader = Reader()
    read = reader.read(lines, END)
    assert read.postfix + read.others + read.unread.count == len(lines)
    assert isinstance(read.unread.reason, str)
    for attempt in reader.attempts():
        assert attempt.request[b"recipient"] or attempt.accepted
    for pasted in attempts(lines):
        assert pasted.refusal or pasted.decided


@pytest.mark.parametrize(
    "piece",
    [
        *('1 a b c d [a x="', "; from=<", '; from=<"', ' to=<"', "reject: RCPT from ", "[1]: "),
        *("Nov  2 10:00:00 ", "client=[", "a: ", '{"a":', "[{", "\x1b[", " | ", "1 - - - - - "),
        *(" ", "1", "a | ", "\x1b[" * 20_000 + "m" * 20_000, "data: {"),
    ],
    ids=lambda piece: repr(piece[:20]),
)
def test_no_line_takes_long(piece):
    """However a long line is made, the time for it grows as its length."""
    heads = ("", "Nov  2 10:00:00 mx postfix/smtpd[1]: A: ", "A: reject: RCPT from x[y]: 450 ")
    lines = [
        (head + piece * (60_000 // len(piece))).encode() for head in (*heads, heads[1] + heads[2])
    ]
    start = time.process_time()
    Reader().read(lines, END)
    attempts(lines)
    assert time.process_time() - start < 2
