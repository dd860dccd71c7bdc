"""postgrey's command line, wherever it stands: a shell's variables, a unit, a script.

Debian has POSTGREY_OPTS and POSTGREY_TEXT in /etc/default/postgrey, Fedora POSTGREY_OPTS and more
in /etc/sysconfig/postgrey, Gentoo a variable for each option in /etc/conf.d/postgrey, FreeBSD
postgrey_flags in rc.conf. The options are those of postgrey(8), 1.0 to 1.37.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Found = Iterator[tuple[str, str, str]]

_ASSIGNMENT = re.compile(
    r"^\s*(?:export\s+|Environment=[\"']?)?(\w*postgrey\w*)\+?=(.*)$", re.IGNORECASE
)
_COMMAND = re.compile(r"(?:^|[\s=:!@+-])(?:\S*/)?postgrey\s+([-$].*)$")
_UNIT = ("Environment=", "ExecStart=")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_SHORT = {"v": "verbose", "q": "quiet", "d": "daemonize", "u": "unix", "i": "inet"}
_FLAGS = {"verbose", "quiet", "daemonize", "exim", "privacy", "lookup-by-host", "lookup-by-subnet"}
_SYNONYMS = {"syslogfacility": "syslog-facility", "facility": "syslog-facility"}
_GENTOO = {"text": "greylist-text", "maxage": "max-age", "retry": "retry-window"}

_LISTEN = "master.cf says where Postfix listens and starts greylist"
_PROCESS = "not needed: user= in master.cf, and Postfix starts and ends the program"
_COMMENTS = {
    "inet": f"{_LISTEN}; in main.cf its check_policy_service takes the place of postgrey's",
    "unix": f"{_LISTEN}; in main.cf its check_policy_service takes the place of postgrey's",
    "socketmode": _LISTEN,
    "listen-queue-size": _LISTEN,
    "daemonize": _PROCESS,
    "pidfile": _PROCESS,
    "user": _PROCESS,
    "group": _PROCESS,
    "host": _LISTEN,
    "port": _LISTEN,
    "exim": "not needed: end of input ends the program",
    "privacy": "no counterpart: names are stored as they are, readable for the filter's user only",
    "lookup-by-subnet": "the default here too",
}
"""What to say of an option that no setting stands for."""

CONFIGURATION = "/etc/postgrey"
"""Where postgrey looks for its lists unless told otherwise."""


def is_about(text: str) -> bool:
    """Return whether a text is about postgrey, though it may set none of its options."""
    return "POSTGREY" in text or "postgrey_" in text


def settings(text: str) -> Found:
    """Yield a setting, its value and what it was there; without a setting, a comment."""
    options = list(_options(text))
    if not options and not is_about(text):
        return
    paths: dict[str, list[str]] = {"whitelist-clients": [], "whitelist-recipients": []}
    for name, value in options:
        if name in paths:
            paths[name].append(value)
        else:
            yield from _setting(name, value)
    for name, files in paths.items():
        yield from _lists(name, files)
    if all(name != "x-greylist-header" for name, _ in options):
        yield "", "", "header = yes would add a header to delayed mail, as postgrey always does"


def _options(text: str) -> Iterator[tuple[str, str]]:
    """Yield the names and values of the options in a text."""
    variables: dict[str, str] = {}
    for line in _logical_lines(text):
        assignment, command = _ASSIGNMENT.match(line), _COMMAND.search(line)
        if assignment:
            name = assignment[1].upper()
            variables[name] = _expand(_unquoted(assignment[2]), variables)
        elif command:
            yield from _parsed(_words(_expand(command[1], {})))
    for name, value in variables.items():
        if value.lstrip().startswith("-"):
            yield from _parsed(_words(value))
        else:
            yield from _gentoo(name, value)


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
        if not equals and name not in _FLAGS and rest and not rest[0].startswith("-"):
            value = rest.pop(0)
        yield name, value


def _gentoo(name: str, value: str) -> Iterator[tuple[str, str]]:
    option = name.removeprefix("POSTGREY_").lower().replace("_", "-")
    option = _GENTOO.get(option, option)
    if value and (option in _VALUES or option in _COMMENTS):
        yield option, value


def _setting(name: str, value: str) -> Found:
    shown = f"--{name}={value}" if value else f"--{name}"
    if name not in _VALUES:
        yield "", "", f"{shown}: {_COMMENTS.get(name, 'no option that is known here')}"
    elif value or name in _FLAGS or name == "auto-whitelist-clients":
        yield from _VALUES[name](value, shown)


def _one(setting: str, form: str = "{}", zero: str = "") -> Callable[[str, str], Found]:
    """Return a translator to one setting; ``zero`` is what postgrey takes a 0 for."""

    def translate(value: str, shown: str) -> Found:
        number = value.strip()
        yield setting, form.format(zero if zero and number.strip("0") == "" else number), shown

    return translate


def _retry_window(value: str, shown: str) -> Found:
    number = value.strip().lower()
    yield "retry_window", number if number.endswith("h") else f"{number}d", shown


def _by_host(_: str, shown: str) -> Found:
    for setting, value in (("ipv4_prefix", "32"), ("ipv6_prefix", "128"), ("pool", "off")):
        yield setting, value, shown


def _auto_whitelist(value: str, shown: str) -> Found:
    yield "auto_whitelist", value.strip() or "5", shown


def _action(value: str, shown: str) -> Found:
    yield "action", value.strip(), shown


def _header(value: str, shown: str) -> Found:
    yield "header", "yes", shown
    yield "header_text", value, shown


def _reply(value: str, shown: str) -> Found:
    yield "reply", value, shown
    if "%c" in value:
        yield "", "", f"{shown}: %c stands for the client's address here"


def _database(value: str, shown: str) -> Found:
    yield "", "", f"{shown}: its database; take it over with: greylist import {value}"


def _flag(setting: str, value: str) -> Callable[[str, str], Found]:
    def translate(_: str, shown: str) -> Found:
        yield setting, value, shown

    return translate


def _lists(name: str, files: list[str]) -> Found:
    """Yield the setting for lists, those that postgrey reads by itself among them."""
    if not files:
        base = os.path.join(CONFIGURATION, name.replace("-", "_"))
        files = [path for path in (base, f"{base}.local") if os.path.exists(path)]
    if files:
        yield name.replace("-", "_"), " ".join(files), f"--{name}"


_VALUES: dict[str, Callable[[str, str], Found]] = {
    "delay": _one("delay", "{}s", zero="300"),
    "max-age": _one("max_age", "{}d", zero="35"),
    "retry-window": _retry_window,
    "auto-whitelist-clients": _auto_whitelist,
    "lookup-by-host": _by_host,
    "ipv4cidr": _one("ipv4_prefix", zero="24"),
    "ipv6cidr": _one("ipv6_prefix", zero="64"),
    "greylist-action": _action,
    "greylist-text": _reply,
    "x-greylist-header": _header,
    "hostname": _one("hostname"),
    "syslog-facility": _one("syslog_facility"),
    "verbose": _flag("verbose", "1"),
    "quiet": _flag("quiet", "yes"),
    "dbdir": _database,
}
"""The options for which there is a setting; a last word of two holds, as with postgrey."""
