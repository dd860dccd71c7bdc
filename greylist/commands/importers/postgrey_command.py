"""postgrey's command line, wherever it stands: a shell's variables, a unit, a script.

Debian has POSTGREY_OPTS and POSTGREY_TEXT in /etc/default/postgrey, Fedora POSTGREY_OPTS and more
in /etc/sysconfig/postgrey, Gentoo a variable for each option in /etc/conf.d/postgrey, FreeBSD
postgrey_flags in rc.conf.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ASSIGNMENT = re.compile(
    r"^\s*(?:export\s+|Environment=[\"']?)?(\w*postgrey\w*)(\+?)=(.*)$", re.IGNORECASE
)
_COMMAND = re.compile(r"(?:^|[\s=:!@+-])(?:\S*/)?postgrey\s+([-$].*)$")
_UNIT = ("Environment=", "ExecStart=")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_SHORT = {"v": "verbose", "q": "quiet", "d": "daemonize", "u": "unix", "i": "inet"}
FLAGS = {"verbose", "quiet", "daemonize", "exim", "privacy", "lookup-by-host", "lookup-by-subnet"}
"""The options without a value."""

_SYNONYMS = {"syslogfacility": "syslog-facility", "facility": "syslog-facility"}
_VARIABLES = {
    "text": "greylist-text",
    "maxage": "max-age",
    "retry": "retry-window",
    **dict.fromkeys("delay max-age retry-window host port dbdir user group pidfile".split(), ""),
}
"""The options that have a variable of their own somewhere, POSTGREY_ before it."""


def is_about(text: str) -> bool:
    """Return whether a text is about postgrey, though it may set none of its options."""
    return "POSTGREY" in text or "postgrey_" in text


def options(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the options in a text."""
    variables: dict[str, str] = {}
    for line in _logical_lines(text):
        assignment, command = _ASSIGNMENT.match(line), _COMMAND.search(line)
        if assignment:
            name = assignment[1].upper()
            before = f"{variables.get(name, '')} " if assignment[2] else ""
            variables[name] = before + _expand(_unquoted(assignment[3]), variables)
        elif command:
            yield from _parsed(_words(_expand(command[1], {})))
    for name, value in variables.items():
        if value.lstrip().startswith("-"):
            yield from _parsed(_words(value))
        else:
            option = name.removeprefix("POSTGREY_").lower().replace("_", "-")
            if value and option in _VARIABLES:
                yield _VARIABLES[option] or option, value


def _logical_lines(text: str) -> Iterator[str]:
    """Yield the lines that are no comments; an assignment goes on to its closing quote."""
    whole = ""
    for line in text.replace("\\\n", " ").split("\n"):
        if not whole and (not line.strip() or line.lstrip().startswith(("#", ";"))):
            continue
        whole = f"{whole} {line}" if whole else line
        if not (_ASSIGNMENT.match(whole) and _is_open(whole)):
            # As systemd.unit(5) has it.
            yield whole.replace("%%", "%") if whole.startswith(_UNIT) else whole
            whole = ""
    if whole:
        yield whole


def _is_open(line: str) -> bool:
    """Return whether a quotation is not closed in it."""
    try:
        shlex.split(line, comments=True)
    except ValueError:
        return True
    return False


def _unquoted(text: str) -> str:
    """Return the value of a shell's assignment."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return text.strip("\"' ")
    return words[0] if words else ""


def _expand(text: str, variables: dict[str, str]) -> str:
    """Replace variables that have been set before; others are empty."""
    return _VARIABLE.sub(lambda found: variables.get(found[1].upper(), ""), text)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _parsed(words: list[str]) -> Iterator[tuple[str, str]]:
    """Yield options as Getopt::Long reads them."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "--":
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = _SHORT.get(name, _SYNONYMS.get(name, name))
        if not equals and name not in FLAGS and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        yield name, value
