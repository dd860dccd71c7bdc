"""The doctor on the whitelist: lines that do nothing, and lines that do too much."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from greylist import log
from greylist.commands import output
from greylist.commands.check.reading import open_up
from greylist.commands.check.report import Finding
from greylist.commands.lists import lists
from greylist.system import quoted
from greylist.watched_file import File
from greylist.whitelist.lines import samples
from greylist.whitelist.matcher import Patterns
from greylist.whitelist.postgrey import is_optional
from greylist.whitelist.regex import Expressions

if TYPE_CHECKING:
    from greylist.commands.check.account import Account
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings
    from greylist.whitelist.lines import Form, Rule

_START = re.compile(rb"\^((?:[\w@%-]|\\\.)+)(.?)")
"""An anchored line's literal beginning, and what follows it."""

_MEANT = {
    "greylist_recipients": "is greylisted",
    "never_trust": "is kept from being trusted",
    "own_clients": "is ours by it",
}
"""What happens to a client or recipient on a list that is no whitelist."""

_EVERYBODY = {
    "greylist_recipients": "every recipient is greylisted",
    "never_trust": "nobody is ever trusted",
    "own_clients": "everybody is taken for one of ours",
}
"""What it means that a line matches everybody, if it is not on a whitelist."""

_NOBODY = "nobody is greylisted"
"""What it means that greylist_recipients has nobody on it."""

_DATED = re.compile(rb"^# Dated: (\d{4}-\d\d-\d\d)\s*$", re.MULTILINE)

_OLD = 365 * 86400
"""Seconds after which a dated list should be looked at."""

_ADDRESS = re.compile(rb"[0-9a-f.:]*", re.IGNORECASE)


def examine(settings: Settings, account: Account) -> Findings:
    """Yield the findings about the lists, which are read as the filter's user."""
    for name, path, form in lists(settings):
        yield from _file(settings, account, name, path, form)


def _file(settings: Settings, account: Account, subject: str, path: str, form: Form) -> Findings:
    """Yield the findings about one list.

    Args:
        settings: name the list.
        account: the filter's user.
        subject: the name of the setting.
        path: the file.
        form: how its lines are read.
    """
    try:
        with account.acting():
            text = File(path).read()
    except FileNotFoundError:
        yield _missing(settings, subject, path)
        return
    except OSError as error:
        words = f"{path}: {error.strerror}; the filter does without it"
        yield Finding("error", subject, words, open_up(path, error))
        return
    findings = list(_lines(subject, path, text, form))
    yield from findings
    if not any(finding.level == "error" for finding in findings):
        number = sum(_parsed(form, line) is not None for line in text.split(b"\n"))
        if not number and subject == "greylist_recipients":
            words = f"{path} names nobody: {_NOBODY}"
            yield Finding("error", subject, words, _name(settings, path))
            return
        age = _age(text)
        words = f"{path}: {number} line{'' if number == 1 else 's'}"
        if age is None or age <= _OLD:
            of_when = "" if age is None else f", dated {output.duration(max(age, 0))} ago"
            yield Finding("ok", subject, words + of_when)
        else:
            words += f", dated {age // 86400} days ago: services change their servers' names"
            yield Finding("warning", subject, words, "Compare nogreylist.example of a new version.")


def _age(text: bytes) -> int | None:
    """Return the age of a list in seconds, from the date in a comment; None without one."""
    found = _DATED.search(text)
    if not found:
        return None
    try:
        day = time.strptime(found[1].decode(), "%Y-%m-%d")
    except ValueError:
        return None
    return int(time.time() - time.mktime(day))


def _missing(settings: Settings, subject: str, path: str) -> Finding:
    if subject == "whitelist" or is_optional(path):
        return Finding("ok", subject, f"no {path}: it matches nobody")
    if subject == "greylist_recipients":
        return Finding("error", subject, f"{path} does not exist: {_NOBODY}", _name(settings, path))
    meant = _MEANT.get(subject, "is whitelisted by it")
    return Finding(
        "error", subject, f"{path} does not exist: nobody {meant}", f"touch {quoted(path)}"
    )


def _name(settings: Settings, path: str) -> str:
    where = settings.path or "the settings"
    return (
        f"Write the recipients into {path}, one a line; or delete greylist_recipients from {where}:"
        " then everybody is greylisted."
    )


def _lines(subject: str, path: str, text: bytes, form: Form) -> Findings:
    patterns = Patterns(text, form)
    for number, reason in patterns.errors:
        words = f"{path}:{number}: {reason}"
        yield Finding("error", subject, words, "Mend the line; until then it is left out.")
    everybody = _EVERYBODY.get(subject, "nobody is greylisted")
    doubts = dict(patterns.doubts)
    wrong = {number for number, _ in patterns.errors}
    seen: dict[tuple[bytes, bytes], int] = {}
    for number, line in enumerate(text.split(b"\n"), 1):
        parsed = _parsed(form, line)
        if parsed is None or number in wrong:
            continue
        if parsed in seen:
            found = [(f"the same as line {seen[parsed]}", "Delete one of them.")]
        elif number in doubts:
            meaning = f": {everybody}" if doubts[number] == "matches everybody" else ""
            found = [(doubts[number] + meaning, "Delete the line, or write what is meant.")]
        else:
            found = complaints(*parsed, everybody)
        seen.setdefault(parsed, number)
        for words, remedy in found:
            place = f"{path}:{number}: {log.line(line.strip()[:80])}"
            yield Finding("warning", subject, f"{place}: {words}", remedy)


def _parsed(form: Form, line: bytes) -> Rule | None:
    try:
        return form(line)
    except ValueError:
        return None


def complaints(
    attribute: bytes, pattern: bytes, everybody: str = "nobody is greylisted"
) -> list[tuple[str, str]]:
    """Return what is wrong with a pattern that compiles, each with its remedy.

    Args:
        attribute: that the line is about.
        pattern: a regular expression.
        everybody: what it means that a line matches everybody.
    """
    if attribute == b"client_address":
        return []
    expressions = Expressions()
    try:
        expressions.add(pattern, 1)
    except ValueError:
        return []
    expressions.compile()
    if expressions.matching_all(samples(attribute)):
        return [(f"matches everybody: {everybody}", "Delete the line, or narrow it.")]
    nothing = never(pattern) if not attribute else None
    if nothing:
        return [nothing]
    forged = made_up(pattern) if not attribute else None
    found = [forged] if forged else []
    if expressions.slow:
        words = "RE2 has no look-around or back-reference, so this line costs time at each request"
        found.append((words, "Write it without (?=, (?!, (?<, \\1, if it can be."))
    return found


def made_up(pattern: bytes) -> tuple[str, str] | None:
    """Return the complaint that any client can match a line with a made-up sender, or None.

    The sender stands in the middle of ``client_address/sender/recipient``, so a line has to begin
    with the client or to end with the recipient. One with an ``@`` and a ``/`` is about senders.
    """
    bare = re.sub(rb"\\[^AZz]|\[\^?\]?[^]]*\]", b"", pattern)  # without what is no anchor
    if bare != bare.translate(None, b"^$\\") or (b"@" in bare and b"/" in bare):
        return None
    return (
        "any client can match it with a made-up sender",
        "Begin the line with ^ for a client, or end it with $ for a recipient.",
    )


def never(pattern: bytes) -> tuple[str, str] | None:
    """Return why a line can never match ``client_address/sender/recipient``, if so."""
    if re.search(rb"(?<!\\)\s|^\s", pattern) and b"(?x" not in pattern:
        return (
            "never matches: no address has a blank in it",
            "A comment needs a line of its own, with # in column 1.",
        )
    start = None if b"|" in pattern else _START.match(pattern)
    if start and not _may_start(start[1].replace(b"\\", b""), start[2]):
        return (
            "never matches: what is matched begins with the client's IP address",
            "Write / in place of ^ for the sender or the recipient.",
        )
    if re.search(rb"(?<!\\)/\$", pattern):
        return "never matches: what is matched ends with the recipient", "Write / in place of /$."
    if b"(?-i" in pattern and re.search(rb"(?<!\\)[A-Z]", pattern):
        return "never matches: what is matched is in lower case", "Leave out (?-i)."
    return None


def _may_start(literal: bytes, following: bytes) -> bool:
    """Return whether a client address, or ``unknown``, may begin with this text."""
    if following in {b"?", b"*", b"{"}:
        literal = literal[:-1]  # the last character may be absent
    return bool(_ADDRESS.fullmatch(literal)) or b"unknown".startswith(literal.lower())
