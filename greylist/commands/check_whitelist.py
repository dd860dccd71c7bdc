"""The doctor on the whitelist: lines that do nothing, and lines that do too much."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.database import acting_as_owner
from greylist.commands.finding import Finding
from greylist.whitelist import Patterns

if TYPE_CHECKING:
    from greylist.commands.finding import Findings
    from greylist.settings import Settings

_ANY_KEY = (b"", b"192.0.2.1/a@example.com/b@example.org", b"2001:db8::1//c@example.net")
"""Subjects that no honest line has in common."""

_START = re.compile(rb"\^((?:[\w@%-]|\\\.)+)(.?)")
"""An anchored line's literal beginning, and what follows it."""

_ADDRESS = re.compile(rb"[0-9a-f.:]*", re.IGNORECASE)


def examine(settings: Settings) -> Findings:
    """Yield what is to say about the whitelist, read as the filter's user."""
    path = settings.whitelist
    try:
        with acting_as_owner(os.path.dirname(settings.database)), open(path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        yield Finding("ok", "whitelist", f"no {path}: nobody is whitelisted")
        return
    except OSError as error:
        words = f"{path}: {error.strerror}; the filter reads no whitelist"
        yield Finding("error", "whitelist", words, f"chmod a+r {path}")
        return
    findings = list(_lines(path, text))
    yield from findings
    if not any(finding.level == "error" for finding in findings):
        number = sum(bool(line.strip()) and line[:1] != b"#" for line in text.split(b"\n"))
        yield Finding("ok", "whitelist", f"{path}: {number} line{'' if number == 1 else 's'}")


def _lines(path: str, text: bytes) -> Findings:
    for number, reason in Patterns(text).errors:
        words = f"{path}:{number}: {reason}"
        yield Finding("error", "whitelist", words, "Mend the line; until then it is left out.")
    seen: dict[bytes, int] = {}
    for number, line in enumerate(text.split(b"\n"), 1):
        pattern = line.rstrip()
        if not pattern or pattern.startswith(b"#"):
            continue
        for words, remedy in complaints(pattern, seen):
            place = f"{path}:{number}: {output.text(pattern[:80])}"
            yield Finding("warning", "whitelist", f"{place}: {words}", remedy)
        seen.setdefault(pattern, number)


def complaints(pattern: bytes, seen: dict[bytes, int]) -> list[tuple[str, str]]:
    """Return what is wrong with a line that compiles, each with its remedy."""
    if pattern in seen:
        return [(f"the same as line {seen[pattern]}", "Delete one of them.")]
    patterns = Patterns(pattern)
    if patterns.errors:
        return []
    if all(patterns.match(subject) is not None for subject in _ANY_KEY):
        return [("matches everybody: nobody is greylisted", "Delete the line, or narrow it.")]
    found = never(pattern)
    if found:
        return [found]
    if patterns.slow:
        words = "RE2 has no look-around or back-reference, so this line costs time at each request"
        return [(words, "Write it without (?=, (?!, (?<, \\1, if it can be.")]
    return []


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
