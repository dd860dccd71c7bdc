"""The facts about a database that several hosts share, and about its servers, for ``check``."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
import time
from typing import TYPE_CHECKING

from greylist.store import StoreError
from greylist.store.valkey.errors import Refused, Unavailable
from greylist.store.valkey.figures import figures
from greylist.store.valkey.maintenance import PATIENCE
from greylist.store.valkey.store import DEADLINE, reach
from greylist.store.valkey.url import parse
from greylist.system import quoted
from greylist.watched_file import File

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from greylist.settings import Settings
    from greylist.store import Fact, Wording
    from greylist.store.valkey.figures import Figures

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


class Inspection:
    """One look at a shared database.

    Attributes:
        readable: whether its entries can be read; known after ``before``.
    """

    def __init__(
        self,
        settings: Settings,
        user: str,
        acting: Callable[[], AbstractContextManager[None]],
        wording: Wording,
    ) -> None:
        """Look at nothing yet.

        Args:
            settings: name the database.
            user: the filter's.
            acting: has root be that user for a while.
            wording: of sizes and times.
        """
        self._settings = settings
        self._user = user
        self._address = parse(settings.database)
        self._acting = acting
        self._size, _ = wording
        self._name = ""
        self._found: list[Figures] = []
        self.readable = False

    def before(self) -> Iterator[Fact]:
        """Yield the facts that are known before the entries are read."""
        yield from self._secrets()
        number = len(self._address.hosts)
        if self._address.kind == "sentinel" and number < 3:
            text = f"{number} Sentinels: it takes three to agree when one is away"
            yield ("warning", "database", text, "Name all Sentinels in the URL.")
        try:
            server, self._name = reach(self._settings)
        except StoreError as error:
            text, _, remedy = str(error).partition("; mend it: ")
            yield ("error", "database", text, remedy)
            return
        try:
            self._found = figures(server, time.monotonic() + PATIENCE)
        except Unavailable as error:
            code = error.code if isinstance(error, Refused) else ""
            remedy = _REMEDIES.get(code, "Look for the server, and for what is between.")
            text = f"{self._name}: {error}"
            yield ("error", "database", text, f"{remedy}\n{_GREYLIST_GOES_ON}")
            return
        finally:
            server.close()
        self.readable = True
        for one in self._found:
            yield from self._server(one)

    def unread(self, error: StoreError) -> Fact:
        """Return the fact that the entries could not be read, with its remedy."""
        remedy = _REMEDIES["NOPERM"] if "NOPERM" in str(error) else _GREYLIST_GOES_ON
        return ("error", "database", str(error), remedy)

    def after(self, number: int) -> Iterator[Fact]:
        """Yield the fact that this number of entries has been read."""
        text = f"{self._name}: {number} entr{'y' if number == 1 else 'ies'}"
        keys = sum(one.keys for one in self._found)
        if keys >= _ENOUGH:
            empty = sum(one.number("used_memory_startup") for one in self._found)
            each = (sum(one.memory for one in self._found) - empty) // keys
            text += f", {each} bytes of memory for each key"
        yield ("ok", "database", text, "")

    def _secrets(self) -> Iterator[Fact]:
        """Yield a fact for each file with a secret: who can read it, and who should."""
        settings = self._settings
        files = [settings.database_password_file, settings.database_certificate_file]
        if self._address.password:
            files.append(settings.path)
        for path in filter(None, files):
            try:
                mode = stat.S_IMODE(os.stat(path).st_mode)
                with self._acting():
                    File(path).read()
            except OSError as error:
                remedy = _shut(path, self._user)
                if error.errno == errno.EINVAL:
                    remedy = f"Put a regular file there: {path}"
                remedy += f"\n{_GREYLIST_GOES_ON}"
                yield ("error", "password", f"{path}: {error.strerror}", remedy)
                continue
            if mode & 0o004:
                text = f"{path} holds a password, and everybody can read it (mode {mode:04o})"
                remedy = _shut(path, self._user)
                if path == settings.path:
                    remedy = "Put the password into a file of its own: database_password_file."
                yield ("warning", "password", text, remedy)
            else:
                yield ("ok", "password", f"{path}, mode {mode:04o}", "")

    def _server(self, one: Figures) -> Iterator[Fact]:
        if not one.info:
            text = "we may not ask the server how it is (INFO)"
            yield ("warning", "server", text, "ACL SETUSER greylist +info +config|get +time")
            return
        yield self._version(one, one.info.get("tcp_port", "?"))
        yield self._memory(one)
        yield from _persistence(one)
        yield from _replication(one)
        yield from _time(one)

    def _version(self, one: Figures, port: str) -> Fact:
        version = one.info.get("valkey_version", one.info.get("redis_version", "0"))
        major = version.partition(".")[0]
        text = f"{one.software} on port {port}, {one.keys} keys in {self._size(one.memory)}"
        if int(major) < 6 if major.isdigit() else True:
            return ("warning", "server", f"{text}: too old to be maintained", "Upgrade it.")
        return ("ok", "server", text, "")

    def _memory(self, one: Figures) -> Fact:
        most, policy = one.number("maxmemory"), one.info.get("maxmemory_policy", "")
        if not most:
            text = "no maxmemory: a flood of new triplets takes all of the machine's memory"
            return ("warning", "memory", text, "maxmemory 1gb\nmaxmemory-policy volatile-ttl")
        text = f"maxmemory {self._size(most)}, {policy}"
        if policy == "noeviction":
            text += ": a full server takes no entry, and mail is let through"
            return ("warning", "memory", text, "maxmemory-policy volatile-ttl")
        if not policy.endswith("-ttl"):
            text += ": a full server drops what has been proven before what only waits"
            return ("warning", "memory", text, "maxmemory-policy volatile-ttl")
        if one.memory > _FULL * most:
            text += f", of which {self._size(one.memory)} are used"
            return ("warning", "memory", text, "Make maxmemory larger.")
        return ("ok", "memory", text, "")


def _shut(path: str, user: str) -> str:
    """Return the command that lets root and the filter's user read a file, and nobody else."""
    try:
        group = grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name
    except KeyError:
        group = user
    return f"chown root:{group} {quoted(path)}; chmod 0640 {quoted(path)}"


def _persistence(one: Figures) -> Iterator[Fact]:
    for field in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if one.info.get(field, "ok") != "ok":
            text = f"the server could not write its files ({field})"
            yield ("error", "disk", text, "See the server's log; make room on its disk.")
    if one.number("aof_enabled"):
        sync = one.config.get("appendfsync", "")
        yield ("ok", "disk", "append-only file" + (f", appendfsync {sync}" if sync else ""), "")
    elif one.config.get("save"):
        yield ("ok", "disk", f"snapshots (save {one.config['save']})", "")
    elif "save" in one.config:
        text = "nothing is on the disk: a restart of the server forgets all correspondents"
        yield ("warning", "disk", text, "appendonly yes")


def _replication(one: Figures) -> Iterator[Fact]:
    if one.info.get("role") == "slave":
        text = "the server is a replica, and takes no entry"
        yield ("error", "replicas", text, "Name the master, or its Sentinels, in the URL.")
        return
    number = one.number("connected_slaves")
    fields = [one.info.get(f"slave{place}", "") for place in range(number)]
    lags = [field.rpartition("lag=")[2] for field in fields if "lag=" in field]
    if number:
        lag = f", {max(map(int, lags))} s behind at most" if lags else ""
        yield ("ok", "replicas", f"{number}{lag}", "")
    else:
        yield ("ok", "replicas", "none: while this server is away, nobody is greylisted", "")


def _time(one: Figures) -> Iterator[Fact]:
    if not one.trip:
        return
    text = f"{1000 * one.trip:.2f} ms for a round trip"
    if one.trip > _SLOW:
        text += f"; a request has {1000 * DEADLINE:.0f} ms for all of its trips"
        yield ("warning", "network", text, "Put the server nearer, or a replica of its own.")
    else:
        yield ("ok", "network", text, "")
    if abs(one.clock) > _WRONG_CLOCK:
        side = "ahead of" if one.clock > 0 else "behind"
        text = f"the server's clock is {abs(one.clock):.0f} s {side} ours"
        yield ("warning", "clock", text, "Check the clocks (chronyc tracking).")
