"""The layouts of log lines: when, which program, and what it said.

Whatever wrote the log, a line of Postfix's ends in ``postfix/smtpd[123]: NOQUEUE: reject: ...``,
and a time stands somewhere before it. What else may stand there differs: a host, a priority
(``<22>``, ``mail.info``), the name of a container, a second time by the collector of the line.
journald and the log drivers of containers also write JSON, and RFC 5424 has the process behind
the program without brackets.
"""

from __future__ import annotations

import json
import re
from typing import Any

Stamp = re.Match[bytes]
"""A line's time, which ``clock.Clock`` reads: one of the groups below is set."""

_TIME = (
    rb"(?:(?P<iso>\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d)(?:[.,]\d+)?"
    rb"(?P<zone> ?[+-]\d\d(?::?\d\d)?\b|Z|z| (?:UTC|GMT)(?= ))?"
    rb"|(?P<classic>(?:\d{4} )?(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    rb" [ \d]?\d (?:\d{4} )?\d\d:\d\d:\d\d)(?:[.,]\d+)?"
    rb"|(?P<unix>\d{9,11})\.\d{3,9})"
)
_STAMP = re.compile(rb"(?<![\w.-])" + _TIME + rb"(?![\w.])")
_ADDED = rb"(?:\[ID \d+ \w+\.\w+\] )?(?:message repeated \d+ times: \[ )?"
"""What syslog daemons put before a text: Solaris, and rsyslog for repeated lines."""

_ABOUT_MAIL = (
    rb"(?P<queue>\w++): "
    rb"(?P<kind>(?:milter-)?reject(?=: )|client(?==)|(?:from|to)(?==<)|removed\s*$)"
)
ABOUT_MAIL = re.compile(_ABOUT_MAIL)
"""How Postfix's lines about mail begin: the message's name in the queue, and what follows."""

COMMON = re.compile(
    rb"(?:(?P<classic>[JFMASOND][aepuco][nbrylgptvc] [ \d]\d [\d:]{8})"
    rb"|(?P<iso>\d{4}[\d-]{6}[T ][\d:]{8})[.\d]*+(?P<zone>Z|[+-][\d:]{4,5}+)?"
    rb"|(?P<unix>\d{9,11})\.\d{3,9})"
    rb" (?:\S++ )?(?P<program>[^\s\[]++)\[\d++\]: ++(?![\[m])(?:(?=" + _ABOUT_MAIL + rb"))?"
)
"""Time, host, program and process in most logs of most systems, made for speed.

The text follows, but not what may begin in ``_ADDED``. The months are a little more than those
that there are. The last group is KIND if the line is about mail, otherwise PROGRAM.
"""

PROGRAM, KIND = COMMON.groupindex["program"], COMMON.groupindex["kind"]
"""The numbers of these groups: looking them up by their names takes a tenth of the time."""

_ESCAPES = re.compile(rb"\x1b\[[\d;]*[A-Za-z]|^\xef\xbb\xbf|^\x1e")
"""Colours, as docker compose has them; a byte order mark; what starts a record of RFC 7464."""

_COMPOSE = re.compile(rb"\S+ +\| ?")
_RFC5424 = re.compile(
    rb"(?:.{0,200}?[\s>])?1 (?P<time>\S+) \S+ (?P<program>\S+) \S+ \S+ "
    rb'(?:-|(?:\[[^\s\]]+(?: [^\s=]+="(?:[^"\\]|\\.)*")*\])+)(?: (?:\xef\xbb\xbf)?(?P<text>.*))?$'
)
_BARE = re.compile(
    rb"(?:NOQUEUE|[0-9A-Za-z]{5,20}): "
    rb"(?:(?:milter-)?reject(?:_warning)?: |client=|(?:from|to)=<|removed$)"
)
"""How Postfix's lines about mail begin, by which they are known without a program's name."""

_PROGRAM = re.compile(
    rb'(?: +[^\s:]\S*){0,5}? +(?P<program>[^\s:|"{}<>]+?)(?:\[\d+\])?: (?P<text>.*)'
)
_BEFORE = re.compile(_ADDED)

_TAGGED = re.compile(rb" +(?P<program>[^\s:{}]+):? +(?P<fields>\{.*\})\s*$")
"""A time, a tag and JSON, as fluentd writes them."""

_MESSAGE_KEYS = (
    "MESSAGE", "message", "msg", "log", "line", "MSG", "text", "short_message", "_raw",
)  # fmt: skip
_PROGRAM_KEYS = (
    "SYSLOG_IDENTIFIER", "syslogtag", "programname", "program", "PROGRAM", "appname", "app-name",
    "app_name", "ident", "tag", "process", "_COMM",
)  # fmt: skip
_TIME_KEYS = (
    "__REALTIME_TIMESTAMP", "_SOURCE_REALTIME_TIMESTAMP", "timestamp", "@timestamp", "time", "ts",
    "date", "timereported", "timegenerated", "ISODATE", "DATE", "_time",
)  # fmt: skip
"""The names that journald, rsyslog, syslog-ng and log drivers give the parts of a line."""

Parts = tuple[Stamp, bytes, bytes]
"""When, which program (empty if it is not told), and what it said."""


def split(line: bytes) -> Parts | None:
    """Return the parts of a log line, or None when it has no time that can be read.

    Args:
        line: without the end of the line.
    """
    return _with_process(line) or _uncommon(line)


def _with_process(line: bytes) -> Parts | None:
    """Return the parts of a line that ends in ``program[process]: text``."""
    if common := COMMON.match(line):
        return common, common["program"], line[common.end() :]
    end = line.find(b"]: ")
    if end > 0 and line[:1] != b"{":
        head, _, program = line[:end].rpartition(b" ")
        name, _, process = program.rpartition(b"[")
        if process.isdigit() and name and b'{"' not in head:
            stamp = _STAMP.match(head) or _STAMP.search(head)
            if stamp:
                return stamp, name, _said(line[end + 3 :].lstrip(b" "))
    return None


def _said(text: bytes) -> bytes:
    """Return a program's message, without the prefix of a syslog daemon."""
    added = _BEFORE.match(text)
    return text[added.end() :] if added else text


def _uncommon(line: bytes) -> Parts | None:
    """Return the parts of a line in any other layout."""
    plain = _ESCAPES.sub(b"", line)
    if plain.startswith(b"data: {"):  # a server-sent event
        plain = plain[6:]
    if compose := _COMPOSE.match(plain):
        plain = plain[compose.end() :]
    plain = plain.replace(b"\t", b" ")
    return (plain != line and _with_process(plain)) or _other(plain)


def _other(line: bytes) -> Parts | None:
    """Return the parts of a line of JSON, of RFC 5424, or without a process."""
    if line.startswith(b"{"):
        return _json(line)
    if (standard := _RFC5424.match(line)) and (stamp := _STAMP.match(standard["time"])):
        return stamp, standard["program"], _said(standard["text"] or b"")
    stamp = _STAMP.search(line[:400])
    if stamp and (tagged := _TAGGED.match(line, stamp.end())):
        return _tagged(stamp, tagged)
    return _without_process(stamp, line[stamp.end() :]) if stamp else None


def _without_process(stamp: Stamp, rest: bytes) -> Parts:
    """Return the parts of a line in which no process' number, or no program, is told."""
    found = _PROGRAM.match(rest)
    if found is None:
        return stamp, b"", rest.strip()
    if _BARE.match(found["program"] + b": " + found["text"]):
        return stamp, b"", rest[found.start("program") :]
    return stamp, found["program"], _said(found["text"])


def _tagged(stamp: Stamp, tagged: re.Match[bytes]) -> Parts:
    """Return the parts of a line of JSON behind a time and a tag, which may name the program."""
    program = tagged["program"].replace(b".", b"/")
    fields = _fields(tagged["fields"])
    text = _first(fields, _MESSAGE_KEYS).rstrip(b"\r\n")
    within = split(text) if text and not text.startswith(b"{") else None
    if within and within[1]:
        return stamp, within[1], within[2]
    named = _first(fields, _PROGRAM_KEYS).rstrip(b":").partition(b"[")[0]
    return stamp, named or program, _said(text.lstrip(b" "))


def _fields(line: bytes) -> dict[str, Any]:
    """Return the fields of an object in JSON; none if it is no object."""
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    fields = fields if isinstance(fields, dict) else {}
    inner = fields.get("result")  # of a search in Splunk
    return inner if isinstance(inner, dict) else fields


def _json(line: bytes) -> Parts | None:
    """Return the parts of a line of JSON: the message itself may be a log line."""
    fields = _fields(line)
    if not fields:
        return None
    text = _first(fields, _MESSAGE_KEYS).rstrip(b"\r\n")
    stamp = _STAMP.match(_time(_first(fields, _TIME_KEYS)))
    within = split(text) if text and not text.startswith(b"{") else None
    if within and (within[1] or stamp is None):
        return stamp or within[0], within[1], within[2]
    if stamp is None:
        return None
    program = _first(fields, _PROGRAM_KEYS).rstrip(b":").partition(b"[")[0]
    return stamp, program, _said(text.lstrip(b" "))


def _first(fields: dict[str, Any], names: tuple[str, ...]) -> bytes:
    """Return the value of the first of these fields that is there, as bytes.

    journald gives bytes that are no UTF-8 as a list of numbers, and repeated fields as a list.
    """
    for name in names:
        value = fields.get(name)
        if isinstance(value, list) and value:
            if all(isinstance(code, int) and 0 <= code < 256 for code in value):
                return bytes(value)
            value = value[0]
        if isinstance(value, str | int | float) and value != "":
            return str(value).encode("utf-8", "surrogateescape" if _encodes(value) else "replace")
    return b""


def _encodes(value: object) -> bool:
    try:
        str(value).encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _time(text: bytes) -> bytes:
    """Return a time in JSON as it would stand in a line; a number is in s, ms, us or ns."""
    whole, _, fraction = text.partition(b".")
    if whole.isdigit() and len(whole) > 8:
        digits = whole + fraction
        return digits[:10] + b"." + (digits[10:] + b"000")[:9]
    return text


_ENGLISH = frozenset("jan feb mar apr may jun jul aug sep oct nov dec".split())
_OTHER_MONTH = re.compile(
    rb"(?:^|[\s>])(?:(?P<month>[^\s\d:|<>\[\]{}]{2,15}) +\d{1,2}\.?"
    rb"|\d{1,2}\.? (?P<after>[^\s\d:|<>\[\]{}]{2,15})) \d\d:\d\d:\d\d"
)


_WRAPPED = re.compile(rb"\s*(?P<program>[^\s\[]++)\[\d++\]: ++(?P<text>.*)", re.DOTALL)


def unwrapped(stamp: Stamp, text: bytes) -> Parts | None:
    """Return the parts of a line that another program passed on, such as a container's runtime.

    The time is that of the line around it; it has the same clock, and may have the year.

    Args:
        stamp: the time of the line around it.
        text: what that program said.
    """
    within = split(text.lstrip())
    if within and within[1]:
        return stamp, within[1], within[2]
    bare = _WRAPPED.match(text)
    return (stamp, bare["program"], bare["text"]) if bare else None


def other_month(line: bytes) -> bytes:
    """Return the word in the place of a line's month, or empty bytes."""
    found = _OTHER_MONTH.search(line[:400])
    word = (found["month"] or found["after"]) if found else b""
    return b"" if word.strip(b"\"'").lower().decode("latin-1") in _ENGLISH else word


def is_without_time(line: bytes) -> bool:
    """Return whether a line is Postfix's own, but without any time."""
    return bool(_BARE.search(line[:400]))
