"""sqlgrey's ``sqlgrey.conf``, 1.8: ``name = value`` a line, with comments after ``#``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Found = Iterator[tuple[str, str, str]]

_LINE = re.compile(r"^\s*(\w+)\s*=\s*(.*?)\s*(?:#.*)?$", re.MULTILINE)
_LISTEN = "master.cf says where Postfix listens and starts greylist"
_PROCESS = "not needed: user= in master.cf, and Postfix starts and ends the program"
_LISTS = "its clients_fqdn_whitelist is of the form of whitelist_clients"
_COMMENTS = {
    "inet": _LISTEN,
    "unix": _LISTEN,
    "user": _PROCESS,
    "group": _PROCESS,
    "pidfile": _PROCESS,
    "confdir": _LISTS,
    "conf_dir": _LISTS,
    "loglevel": "decisions are logged by default here; see quiet and verbose",
    "group_domain_level": "no counterpart: auto_whitelist counts passes of a client, any sender's",
    "connect_src_throttle": "no counterpart",
    "discrimination": "no counterpart: whitelist lines name who is not to wait",
    "admin_mail": "no counterpart: trouble is logged",
    "whitelists_host": "no counterpart: no lists are fetched",
}
_DEFAULTS = {"max_connect_age": "24", "awl_age": "60"}
"""Its defaults where they are others than ours."""


def settings(text: str) -> Found:
    """Yield a setting, its value and what it was there; without a setting, a comment."""
    values = {**_DEFAULTS, **dict(_LINE.findall(text))}
    for name, value in values.items():
        shown = f"{name} = {value}"
        if name in OPTIONS:
            yield from OPTIONS[name](value, shown)
        elif not name.startswith("db_"):
            yield "", "", f"{shown}: {_COMMENTS.get(name, 'no counterpart')}"
    yield from _database(values)
    if "prepend" not in values:
        yield "", "", "header = yes would add a header to delayed mail, as sqlgrey always does"


def _one(setting: str, form: str) -> Callable[[str, str], Found]:
    def translate(value: str, shown: str) -> Found:
        yield setting, form.format(value), shown

    return translate


def _method(value: str, shown: str) -> Found:
    if value == "full":
        for setting, number in (("ipv4_prefix", "32"), ("ipv6_prefix", "128"), ("pool", "off")):
            yield setting, number, shown
    elif value == "smart":
        yield "", "", f"{shown}: the nearest is the default here, networks of /24 and /64"


def _prepend(value: str, shown: str) -> Found:
    yield "header", "no" if value in {"0", "off"} else "yes", shown


def _reject(value: str, shown: str) -> Found:
    if value == "immed":
        yield "action", "defer", shown


def _code(value: str, shown: str) -> Found:
    yield "", "", f"{shown}: action = {value} would use it"


def _optmethod(value: str, shown: str) -> Found:
    if value != "none":
        setting = "greylist_recipients" if value == "optin" else "whitelist_recipients"
        yield "", "", f"{shown}: list the recipients of its tables in a file, {setting} = FILE"


def _database(values: dict[str, str]) -> Found:
    """Say how the database is taken over; PostgreSQL is sqlgrey's default."""
    kind, name = values.get("db_type", "Pg"), values.get("db_name", "sqlgrey")
    if kind.lower() == "sqlite":
        yield "", "", f"its database is taken over with: greylist import {name}"
        return
    program = "mysqldump" if kind.lower() in {"mysql", "mariadb"} else "pg_dump"
    command = f"{program} {name} >sqlgrey.sql; greylist import sqlgrey.sql"
    yield "", "", f"its database is taken over with: {command}"


OPTIONS: dict[str, Callable[[str, str], Found]] = {
    "reconnect_delay": _one("delay", "{}m"),
    "max_connect_age": _one("retry_window", "{}h"),
    "awl_age": _one("max_age", "{}d"),
    "greymethod": _method,
    "prepend": _prepend,
    "reject_first_attempt": _reject,
    "reject_code": _code,
    "optmethod": _optmethod,
}
"""The options that settings stand for. Times are in minutes, hours and days."""
