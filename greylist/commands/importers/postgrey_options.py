"""postgrey's options, those of postgrey(8), 1.0 to 1.37, as settings of ours."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from greylist.commands.importers.postgrey_command import FLAGS, is_about, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Found = Iterator[tuple[str, str, str]]

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
"""The comment for an option that has no setting."""

CONFIGURATION = "/etc/postgrey"
"""Where postgrey looks for its lists unless told otherwise."""


def settings(text: str) -> Found:
    """Yield a setting, its value and what it was there; without a setting, a comment."""
    found = list(options(text))
    if not found and not is_about(text):
        return
    paths: dict[str, list[str]] = {"whitelist-clients": [], "whitelist-recipients": []}
    for name, value in found:
        if name in paths:
            paths[name].append(value)
        else:
            yield from _setting(name, value)
    for name, files in paths.items():
        yield from _lists(name, files)
    if all(name != "x-greylist-header" for name, _ in found):
        yield "", "", "header = yes would add a header to delayed mail, as postgrey always does"


def _setting(name: str, value: str) -> Found:
    shown = f"--{name}={value}" if value else f"--{name}"
    if name not in _VALUES:
        yield "", "", f"{shown}: {_COMMENTS.get(name, 'no option that is known here')}"
    elif value or name in FLAGS or name == "auto-whitelist-clients":
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
