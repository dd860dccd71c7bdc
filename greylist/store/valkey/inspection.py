"""The doctor on a database that several hosts share."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.check.census import Census
from greylist.commands.check.report import Finding
from greylist.store import StoreError
from greylist.store.valkey.errors import Refused, Unavailable
from greylist.store.valkey.inspection import inspect
from greylist.store.valkey.maintenance import PATIENCE
from greylist.store.valkey.store import DEADLINE, reach
from greylist.store.valkey.url import parse

if TYPE_CHECKING:
    from greylist.commands.check.account import Account
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings
    from greylist.store.valkey.inspection import Inspected
    from greylist.store.valkey.url import Address

_GREYLIST_GOES_ON = "Until then, mail is let through without greylisting."

RIGHTS = (
    "+mget +get +set +del +eval +evalsha +scan +select +ping +info +time +config|get"
    " +cluster|slots +asking"
)
"""What a user has to be allowed: the last two in a cluster."""

_REMEDIES = {
    "NOAUTH": "Set database_password_file, or put the password into the URL.",
    "WRONGPASS": "Set the right user in the URL, and the right password.",
    "NOPERM": f"ACL SETUSER greylist ~greylist:* {RIGHTS}",
}
"""What mends an error of the server, by its first word."""

_FULL = 0.9
"""Share of maxmemory from which on it is time to do something."""

_SLOW = 0.02
"""Seconds of a round trip that are too many: a request needs two or three of DEADLINE."""

_ENOUGH = 1000
"""Keys from which on a server's memory tells how much one takes."""

_WRONG_CLOCK = 5
"""Seconds that two clocks may differ."""


def examine(settings: Settings, account: Account) -> Findings:
    """Yield what is to say about the database and its servers."""
    address = parse(settings.database)
    yield from _secrets(settings, address, account)
    if address.kind == "sentinel" and len(address.hosts) < 3:
        text = f"{len(address.hosts)} Sentinels: it takes three to agree when one is away"
        yield Finding("warning", "database", text, "Name all Sentinels in the URL.")
    try:
        server, name = reach(settings)
    except StoreError as error:
        yield Finding("error", "database", str(error), "pip install 'greylist[valkey]'")
        return
    try:
        found = inspect(server, time.monotonic() + PATIENCE)
    except Unavailable as error:
        code = error.code if isinstance(error, Refused) else ""
        remedy = _REMEDIES.get(code, "Look for the server, and for what is between.")
        yield Finding("error", "database", f"{name}: {error}", f"{remedy}\n{_GREYLIST_GOES_ON}")
        return
    finally:
        server.close()
    for one in found:
        yield from _server(one)
    try:
        census = Census(settings)
    except StoreError as error:
        remedy = _REMEDIES["NOPERM"] if "NOPERM" in str(error) else _GREYLIST_GOES_ON
        yield Finding("error", "database", str(error), remedy)
        return
    yield from census.findings()
    text = f"{name}: {census.number} entries"
    keys = sum(one.keys for one in found)
    if keys >= _ENOUGH:
        each = sum(one.memory - one.number("used_memory_startup") for one in found) // keys
        text += f", {each} bytes of memory for each key"
    yield Finding("ok", "database", text)


def _secrets(settings: Settings, address: Address, account: Account) -> Findings:
    """Yield which files with secrets can be read by everybody, or by nobody."""
    files = [settings.database_password_file, settings.database_certificate_file]
    if address.password:
        files.append(settings.path)
    for path in filter(None, files):
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
            with account.acting(), open(path, "rb"):
                pass
        except OSError as error:
            remedy = f"chown root:greylist {path}; chmod 0640 {path}\n{_GREYLIST_GOES_ON}"
            yield Finding("error", "password", f"{path}: {error.strerror}", remedy)
            continue
        if mode & 0o004:
            text = f"{path} holds a password, and everybody can read it (mode {mode:04o})"
            remedy = f"chown root:greylist {path}; chmod 0640 {path}"
            if path == settings.path:
                remedy = "Put the password into a file of its own: database_password_file."
            yield Finding("warning", "password", text, remedy)
        else:
            yield Finding("ok", "password", f"{path}, mode {mode:04o}")


def _server(one: Inspected) -> Findings:
    if not one.info:
        text = "we may not ask the server how it is (INFO)"
        yield Finding("warning", "server", text, "ACL SETUSER greylist +info +config|get +time")
        return
    port = one.info.get("tcp_port", "?")
    yield _version(one, port)
    yield from _memory(one)
    yield from _persistence(one)
    yield from _replication(one)
    yield from _time(one)


def _version(one: Inspected, port: str) -> Finding:
    version = one.info.get("valkey_version", one.info.get("redis_version", "0"))
    major = version.partition(".")[0]
    text = f"{one.software} on port {port}, {one.keys} keys in {output.size(one.memory)}"
    if int(major) < 6 if major.isdigit() else True:
        return Finding("warning", "server", f"{text}: too old to be maintained", "Upgrade it.")
    return Finding("ok", "server", text)


def _memory(one: Inspected) -> Findings:
    most, policy = one.number("maxmemory"), one.info.get("maxmemory_policy", "")
    if not most:
        text = "no maxmemory: a flood of new triplets takes all of the machine's memory"
        yield Finding("warning", "memory", text, "maxmemory 1gb\nmaxmemory-policy volatile-ttl")
        return
    text = f"maxmemory {output.size(most)}, {policy}"
    if policy == "noeviction":
        text += ": a full server takes no entry, and mail is let through"
        yield Finding("warning", "memory", text, "maxmemory-policy volatile-ttl")
    elif not policy.endswith("-ttl"):
        text += ": a full server drops what has been proven before what only waits"
        yield Finding("warning", "memory", text, "maxmemory-policy volatile-ttl")
    elif one.memory > _FULL * most:
        text += f", of which {output.size(one.memory)} are used"
        yield Finding("warning", "memory", text, "Make maxmemory larger.")
    else:
        yield Finding("ok", "memory", text)


def _persistence(one: Inspected) -> Findings:
    for field in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if one.info.get(field, "ok") != "ok":
            text = f"the server could not write its files ({field})"
            yield Finding("error", "disk", text, "See the server's log; make room on its disk.")
    if one.number("aof_enabled"):
        sync = one.config.get("appendfsync", "")
        yield Finding("ok", "disk", "append-only file" + (f", appendfsync {sync}" if sync else ""))
    elif one.config.get("save"):
        yield Finding("ok", "disk", f"snapshots (save {one.config['save']})")
    elif "save" in one.config:
        text = "nothing is on the disk: a restart of the server forgets all correspondents"
        yield Finding("warning", "disk", text, "appendonly yes")


def _replication(one: Inspected) -> Findings:
    if one.info.get("role") == "slave":
        text = "the server is a replica, and takes no entry"
        yield Finding("error", "replicas", text, "Name the master, or its Sentinels, in the URL.")
        return
    number = one.number("connected_slaves")
    fields = [one.info.get(f"slave{place}", "") for place in range(number)]
    lags = [field.rpartition("lag=")[2] for field in fields if "lag=" in field]
    if number:
        lag = f", {max(map(int, lags))} s behind at most" if lags else ""
        yield Finding("ok", "replicas", f"{number}{lag}")
    else:
        yield Finding("ok", "replicas", "none: while this server is away, nobody is greylisted")


def _time(one: Inspected) -> Findings:
    if not one.trip:
        return
    text = f"{1000 * one.trip:.2f} ms for a round trip"
    if one.trip > _SLOW:
        text += f"; a request has {1000 * DEADLINE:.0f} ms for all of its trips"
        yield Finding("warning", "network", text, "Put the server nearer, or a replica of its own.")
    else:
        yield Finding("ok", "network", text)
    if abs(one.clock) > _WRONG_CLOCK:
        side = "ahead of" if one.clock > 0 else "behind"
        text = f"the server's clock is {abs(one.clock):.0f} s {side} ours"
        yield Finding("warning", "clock", text, "Check the clocks (chronyc tracking).")
