"""The lines of master.cf: services, their arguments and what they set otherwise (master(5))."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

_ARGUMENT = re.compile(r"\{\s*((?:[^{}]|\{[^{}]*\})*?)\s*\}(?!\S)|(\S+)")
"""master(5): an argument with blanks is in braces."""

_OWN_USERS = frozenset(("submission", "submissions", "smtps", "465", "587"))
"""Ports at which our own users send (RFC 6409, RFC 8314)."""

_LOOPBACK = ("127.", "localhost", "[::1]", "::1")


class Service(NamedTuple):
    """A line of master.cf."""

    name: str
    type: str
    private: str
    unprivileged: str
    chroot: str
    wakeup: str
    processes: str
    command: str
    arguments: tuple[str, ...]

    @property
    def title(self) -> str:
        """How postconf(1) names it."""
        return f"{self.name}/{self.type}"

    @property
    def user(self) -> str:
        """As whom spawn(8) runs its program."""
        return next((a[5:] for a in self.arguments if a.startswith("user=")), "")

    @property
    def argv(self) -> tuple[str, ...]:
        """What spawn(8) runs."""
        words = self.arguments
        start = next((n for n, a in enumerate(words) if a.startswith("argv=")), None)
        return () if start is None else (words[start][5:], *words[start + 1 :])

    @property
    def line(self) -> str:
        """The line itself."""
        fields = (self.name, self.type, self.private, self.unprivileged, self.chroot, self.wakeup)
        words = map(braced, self.arguments)
        return " ".join((*fields, self.processes, self.command, *words))

    @property
    def program(self) -> str:
        """The file that spawn(8) runs."""
        return self.argv[0]

    @property
    def is_greylist(self) -> bool:
        """Whether it spawns a greylist."""
        return self.command == "spawn" and "greylist" in map(os.path.basename, self.words)

    @property
    def words(self) -> list[str]:
        """What is run in the end: the words of ``sh -c "exec greylist ..."`` one by one."""
        if self.is_plain:
            return list(self.argv)
        return [part for word in self.argv for part in word.split()]

    @property
    def is_plain(self) -> bool:
        """Whether the program's name is an argument of its own."""
        return "greylist" in map(os.path.basename, self.argv)

    @property
    def overrides(self) -> tuple[str, ...]:
        """What it sets otherwise than main.cf, each as ``name=value``."""
        found = []
        words = iter(self.arguments)
        for word in words:
            if word.startswith("-o"):
                name, _, value = (word[2:] or next(words, "")).partition("=")
                found.append(f"{name.strip()}={value.strip()}")
        return tuple(found)

    @property
    def is_for_strangers(self) -> bool:
        """Whether it is an smtpd to which mail comes from outside."""
        if self.command != "smtpd" or self.type not in {"inet", "pass"}:
            return False
        return self.type == "pass" or self.name.rpartition(":")[2] not in _OWN_USERS

    @property
    def is_public(self) -> bool:
        """Whether it is where mail for us comes: at port 25, or behind postscreen(8)."""
        return self.type == "pass" or self.name.rpartition(":")[2] in {"smtp", "25"}

    @property
    def is_local(self) -> bool:
        """Whether only this host reaches it: what an after-queue filter gives back, for one."""
        return self.type == "inet" and self.name.startswith(_LOOPBACK)

    @property
    def endpoint(self) -> str:
        """How main.cf refers to it."""
        kind = "private" if self.private != "n" else "public"
        return f"unix:{kind}/{self.name}" if self.type == "unix" else f"inet:{self.name}"

    def is_at(self, endpoint: str) -> bool:
        """Return whether an endpoint of main.cf is this service."""
        kind, place = parts(endpoint)
        if kind != self.type:
            return False
        if self.type == "unix":
            return ("/" + place).endswith("/" + self.endpoint.partition(":")[2])
        return place.rpartition(":")[2] == self.name.rpartition(":")[2]


def parts(endpoint: str) -> tuple[str, str]:
    """Return the type of an endpoint of main.cf, of which ``local`` is ``unix``, and its place."""
    kind, _, place = endpoint.partition(":")
    return {"local": "unix"}.get(kind, kind), place


def enabled(lines: list[Service], disabled: str) -> list[Service]:
    """Return the services that master(8) starts.

    Args:
        lines: of master.cf.
        disabled: main.cf's ``master_service_disable``: types, and names with types.
    """
    off = set(re.split(r"[\s,]+", disabled.replace(".", "/")))
    return [line for line in lines if off.isdisjoint((line.type, line.title))]


def from_outside(services: list[Service]) -> list[Service]:
    """Return the services that other hosts reach.

    At loopback a filter gives mail back; where there is nothing else, mail comes by a tunnel.
    """
    return [service for service in services if not service.is_local] or services


def spawning(name: str, user: str, argv: list[str]) -> str:
    """Return the line of master.cf that has spawn(8) run a program as a user."""
    words = [f"user={user}", f"argv={argv[0]}", *argv[1:]]
    return f"{name} unix - n n - 0 spawn {' '.join(map(braced, words))}"


def parse_service(line: str) -> Service:
    """Return the service of a line of master.cf, as postconf(1) prints it."""
    fields = line.split(maxsplit=8)
    rest = fields[8] if len(fields) > 8 else ""
    arguments = tuple(braced or plain for braced, plain in _ARGUMENT.findall(rest))
    name, kind, private, unprivileged, chroot, wakeup, processes, command = fields[:8]
    return Service(name, kind, private, unprivileged, chroot, wakeup, processes, command, arguments)


def braced(word: str) -> str:
    """Return an argument as it stands in master.cf."""
    return f"{{ {word} }}" if not word or word.startswith("{") or " " in word else word
