"""What reaches the syslog daemon, as the filter and the C library send it."""

from __future__ import annotations

import re

from conftest import request
from settled import write

MAIL, LOCAL3 = 2 << 3, 19 << 3
ERR, WARNING, INFO = 3, 4, 6

HEADER = re.compile(r"<(\d+)>\w{3} [ \d]\d \d\d:\d\d:\d\d greylist\[\d+\]: (.*)")


def parse(line):
    """Return the priority and the text of a line, which must have the ident and the pid."""
    match = HEADER.fullmatch(line.rstrip("\0\n"))
    assert match, line
    return int(match[1]), match[2]


def test_decisions(syslog, place):
    """One line a decision, at mail.info, in postgrey's form."""
    write(place.whitelist, b"^10\\.\n")
    data = request() + request() + request(client_address="10.0.0.1", sender="", queue_id="4F1A")
    rest = "client_name=mail.example.com, client_address=192.0.2.1, sender=sender@example.com"
    rest += ", recipient=recipient@example.org"
    lines = [parse(line) for line in syslog.run(data=data)]
    assert [priority for priority, _ in lines] == [MAIL | INFO] * 3
    assert lines[0][1] == f"action=greylist, reason=new, {rest}"
    early = re.fullmatch(
        r"action=greylist, reason=early-retry \((\d+)s missing\), (.*)", lines[1][1]
    )
    assert early[2] == rest
    assert 290 < int(early[1]) <= 300
    assert lines[2][1] == (
        "4F1A: action=pass, reason=client whitelist, client_name=mail.example.com, "
        "client_address=10.0.0.1, recipient=recipient@example.org"
    )


def test_quiet(syslog, place):
    """A quiet filter logs trouble, and no decision."""
    place.configure(quiet="yes")
    [line] = syslog.run(data=b"garbage\n" + request())
    assert parse(line)[1] == "warning: ignoring garbage: garbage"


def test_pass(syslog, place):
    """The first pass says how long the mail was delayed."""
    syslog.run(data=request())
    place.age(400)
    _, text = parse(syslog.run(data=request())[0])
    assert re.match(r"action=pass, reason=triplet found, delay=40\d, client_name=", text)


def test_facility_and_priorities(syslog, place):
    """The facility is a setting; garbage is a warning, and what ends the filter an error."""
    place.configure(syslog_facility="local3")
    lines = [parse(line) for line in syslog.run(data=b"garbage\n\n")]
    assert lines == [
        (LOCAL3 | WARNING, "warning: ignoring garbage: garbage"),
        (LOCAL3 | ERR, "fatal: unrecognized request type: ''"),
    ]


def test_nothing_forges_a_line(syslog):
    """Control bytes, spaces and bytes of no encoding in a value stay within it."""
    sender = b"a\rb\x00c\x1b[0m\xff, recipient=forged@example.com"
    [line] = syslog.run(data=request(sender=sender))
    _, text = parse(line)
    assert text.isprintable()
    assert text.count(", recipient=") == 1
    assert text.endswith(", recipient=recipient@example.org")


def test_errors(syslog, place):
    """What mends a broken set-up is one line, at mail.err."""
    place.data.chmod(0o777)
    [line] = syslog.run(data=request())
    remedy = f"chmod 0700 {place.data}"
    assert parse(line) == (
        MAIL | ERR,
        f"fatal: {place.data} is world-writable; mend it: {remedy}",
    )


def test_bad_settings(syslog, place):
    """A wrong setting is one line, naming the file and the line."""
    place.config.write_text("delays = 1\n")
    [line] = syslog.run(data=request())
    assert parse(line)[1] == f"fatal: {place.config}:1: unknown setting 'delays'"
