"""What postconf(1) says of a Postfix: its services that spawn greylist, and who asks them."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS = ("smtpd_recipient_restrictions", "smtpd_relay_restrictions")
EARLY = ("smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions")
LATE = ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")
ALL = (*LISTS, *EARLY, *LATE)
_PARAMETERS = (
    *ALL,
    "command_time_limit",
    "default_process_limit",
    "export_environment",
    "smtpd_policy_service_default_action",
    "smtpd_policy_service_timeout",
    "smtpd_restriction_classes",
)
_ITEM = re.compile(r"\{(?:[^{}]|\{[^{}]*\})*\}|[^\s,{}]+")
_ARGUMENT = re.compile(r"\{\s*(.*?)\s*\}(?!\S)|(\S+)")  # master(5): in braces, one with blanks


class Service(NamedTuple):
    """A line of master.cf."""

    name: str
    type: str
    private: str
    chroot: str
    processes: str
    user: str
    argv: tuple[str, ...]

    @property
    def program(self) -> str:
        """The file that spawn(8) runs."""
        return self.argv[0]

    @property
    def endpoint(self) -> str:
        """How main.cf refers to it."""
        kind = "private" if self.private != "n" else "public"
        return f"unix:{kind}/{self.name}" if self.type == "unix" else f"inet:{self.name}"

    def is_at(self, endpoint: str) -> bool:
        """Return whether an endpoint of main.cf is this service."""
        kind, _, place = endpoint.partition(":")
        if kind != self.type:
            return False
        if kind == "unix":
            return ("/" + place).endswith("/" + self.endpoint.partition(":")[2])
        return place.rpartition(":")[2] == self.name.rpartition(":")[2]


class Postfix:
    """What postconf(1) says of a configuration.

    Attributes:
        classes: the restrictions of each class (RESTRICTION_CLASS_README).
    """

    def __init__(self, program: str, directory: str | None) -> None:
        self._command = [program, *(["-c", directory] if directory else [])]
        self._values: dict[str, str] = {}
        self.classes: dict[str, list[str]] = {}

    def ask(self, *arguments: str) -> str:
        """Return what postconf prints; OSError with its complaint if there is one."""
        result = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=30,
            check=False,
        )
        if result.returncode:
            raise OSError(result.stderr.strip().splitlines()[-1] if result.stderr else "postconf")
        return result.stdout

    def services(self) -> list[Service]:
        """Return the services that spawn a greylist."""
        return list(filter(None, map(service_of, self.ask("-M").splitlines())))

    def value(self, name: str) -> str:
        """Return a parameter's value, with what it refers to put in; empty if unknown."""
        return self._values.get(name, "")

    def load(self, services: list[Service]) -> None:
        """Ask for all values at once: postconf(1) is slow to start."""
        self._load(*_PARAMETERS, *(f"{service.name}_time_limit" for service in services))
        names = restrictions(self.value("smtpd_restriction_classes"))
        if names:
            self._load(*names)
        self.classes = {name: restrictions(self.value(name)) for name in names}

    def _load(self, *names: str) -> None:
        for line in self.ask("-x", *names).splitlines():
            name, _, value = line.partition("=")
            self._values[name.strip()] = value.strip()

    def lists(self) -> dict[str, list[str]]:
        """Return the restriction lists by name, those that master.cf overrides included.

        What is in a class stands in place of the class.
        """
        lists = {name: self._items(self.value(name)) for name in ALL}
        for line in self.ask("-Px").splitlines():
            name, _, value = line.partition(" = ")
            if name.endswith(ALL):
                lists[name] = self._items(value)
        return lists

    def _items(self, value: str) -> list[str]:
        return list(self._expanded(restrictions(value), ()))

    def _expanded(self, items: list[str], within: tuple[str, ...]) -> Iterator[str]:
        for item in items:
            if item in self.classes and item not in within:
                yield from self._expanded(self.classes[item], (*within, item))
            else:
                yield item


def service_of(line: str) -> Service | None:
    """Return the service of a line of master.cf if it is ours."""
    fields = line.split(maxsplit=8)
    if len(fields) < 9 or fields[7] != "spawn":
        return None
    arguments = [braced or plain for braced, plain in _ARGUMENT.findall(fields[8])]
    user = next((a[5:] for a in arguments if a.startswith("user=")), "")
    start = next((n for n, a in enumerate(arguments) if a.startswith("argv=")), None)
    words = arguments[start:] if start is not None else [""]
    argv = (words[0][5:], *words[1:])
    if not any(os.path.basename(word) == "greylist" for word in argv):
        return None
    return Service(fields[0], fields[1], fields[2], fields[4], fields[6], user, argv)


def restrictions(value: str) -> list[str]:
    """Return the items of a restriction list; a ``{ ... }`` group is one item."""
    return _ITEM.findall(value)


def position(items: list[str], service: Service) -> int | None:
    """Return where ``check_policy_service`` asks this service, or nothing."""
    for number, (item, call) in enumerate(itertools.pairwise(items)):
        if item.lower() == "check_policy_service" and service.is_at(called(call)[0]):
            return number
    return None


def called(call: str) -> tuple[str, dict[str, str]]:
    """Return the endpoint of a call and its attributes.

    The call is ``{ unix:..., name=value ... }``; a value with a blank stands in braces of its
    own, ``{ name = value }`` (SMTPD_POLICY_README, "Advanced policy client configuration").
    """
    inner = call[1:-1] if call.startswith("{") else call
    words = _ITEM.findall(re.sub(r"\s*=\s*", "=", inner))
    pairs = (word.strip("{} \t").partition("=") for word in words[1:])
    return (words[0] if words else ""), {name.strip(): value.strip() for name, _, value in pairs}
