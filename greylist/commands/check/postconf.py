"""What postconf(1) says of a Postfix: its services, and what each smtpd(8) asks of whom."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

RECIPIENT = "smtpd_recipient_restrictions"
RELAY = "smtpd_relay_restrictions"
EARLY = ("smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions")
LATE = ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")
LISTS = (*EARLY, RELAY, RECIPIENT, *LATE)
_PARAMETERS = (
    *LISTS,
    "command_time_limit",
    "compatibility_level",
    "default_process_limit",
    "export_environment",
    "mydestination",
    "queue_directory",
    "recipient_delimiter",
    "smtpd_delay_reject",
    "smtpd_policy_service_default_action",
    "smtpd_policy_service_timeout",
    "smtpd_relay_before_recipient_restrictions",
    "smtpd_restriction_classes",
    "smtpd_sasl_auth_enable",
)
_BRACED = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_ITEM = re.compile(rf"(?:{_BRACED}|[^\s,{{}}])+")
"""A word ends at a blank or comma outside of braces: ``inline:{ {a = b} }`` is one."""

_ARGUMENT = re.compile(r"\{\s*((?:[^{}]|\{[^{}]*\})*?)\s*\}(?!\S)|(\S+)")
"""master(5): an argument with blanks is in braces."""

_WITH_ARGUMENT = re.compile(
    "check_.*|reject_rbl_client|reject_rhsbl_.*|permit_dnswl_client|permit_rhswl_client|sleep"
)
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
        kind, _, place = endpoint.partition(":")
        if {"local": "unix"}.get(kind, kind) != self.type:
            return False
        if self.type == "unix":
            return ("/" + place).endswith("/" + self.endpoint.partition(":")[2])
        return place.rpartition(":")[2] == self.name.rpartition(":")[2]


class Step(NamedTuple):
    """A restriction of a list, classes taken apart.

    Attributes:
        name: in lower case.
        argument: what follows it, if it takes one.
        warned: whether warn_if_reject is before it, so that it refuses nobody.
        within: the class that it stands in, empty for the list itself.
    """

    name: str
    argument: str
    warned: bool
    within: str


class View:
    """Postfix's parameters as one of its services has them.

    Attributes:
        classes: the restrictions of each class (RESTRICTION_CLASS_README).
    """

    def __init__(self, values: dict[str, str], classes: dict[str, list[str]]) -> None:
        self._values = values
        self.classes = classes

    def value(self, name: str) -> str:
        """Return a parameter's value, with what it refers to put in; empty if unknown."""
        return self._values.get(name, "")

    def is_set(self, name: str) -> bool:
        """Return whether a parameter is yes."""
        return self.value(name).lower() == "yes"

    def items(self, name: str) -> list[str]:
        """Return the words of a list as they stand there."""
        return self.classes.get(name) or restrictions(self.value(name))

    def steps(self, name: str) -> list[Step]:
        """Return the restrictions of a list or class, those of classes in place of the classes."""
        return list(self._steps(self.items(name), "", (), warned=False))

    def _steps(
        self, items: list[str], within: str, around: tuple[str, ...], *, warned: bool
    ) -> Iterator[Step]:
        words = iter(items)
        warns = warned
        for word in words:
            name = word.lower()
            if name == "warn_if_reject":
                warns = True
                continue
            if word in self.classes and word not in around:
                yield from self._steps(self.classes[word], word, (*around, word), warned=warns)
            else:
                argument = next(words, "") if takes_argument(name) else ""
                yield Step(name, argument, warns, within)
            warns = warned

    def words(self, name: str) -> list[str]:
        """Return the words of a list, those of classes in place of the classes."""
        return list(self._words(self.items(name), ()))

    def _words(self, items: list[str], around: tuple[str, ...]) -> Iterator[str]:
        for word in items:
            if word in self.classes and word not in around:
                yield from self._words(self.classes[word], (*around, word))
            else:
                yield word

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """All values, to tell whether two views are the same."""
        return tuple(sorted(self._values.items()))


class Postfix:
    """What postconf(1) says of a configuration."""

    def __init__(self, program: str, directory: str | None, *, keep: bool = False) -> None:
        """Ask nothing yet.

        Args:
            program: postconf(1).
            directory: where main.cf is; None for where postconf(1) looks.
            keep: whether what was asked once is not asked again: its answer takes a while.
        """
        self._command = [program, *(["-c", directory] if directory else [])]
        self.directory = directory
        self._values: dict[str, str] = {}
        self._changed: dict[str, list[str]] = {}
        self._answers: dict[tuple[str, ...], str] | None = {} if keep else None

    def shell(self, program: str, *arguments: str) -> str:
        """Return a command on this Postfix, to be typed."""
        words = [program, *(["-c", self.directory] if self.directory else []), *arguments]
        return shlex.join(words)

    def change(self, service: Service, edit: Callable[[list[str]], list[str]]) -> str:
        """Return the command that changes a service's arguments in master.cf, to be typed.

        It makes the changes that were asked for before, too: one must not undo another.
        """
        if not service.is_plain:
            return f"Change its arguments in master.cf by hand: {service.title}."
        words = self._changed[service.title] = edit(
            self._changed.get(service.title, list(service.arguments))
        )
        command = " ".join((service.command, *map(braced, words)))
        return self.shell("postconf", "-F", f"{service.title}/command={command}")

    def ask(self, *arguments: str) -> str:
        """Return what postconf prints; OSError with its complaint if there is one."""
        if self._answers is None:
            return self._ask(arguments)
        if arguments not in self._answers:
            self._answers[arguments] = self._ask(arguments)
        return self._answers[arguments]

    def _ask(self, arguments: tuple[str, ...]) -> str:
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

    def lines(self) -> list[Service]:
        """Return the lines of master.cf."""
        return [_service(line) for line in self.ask("-M").splitlines() if line.strip()]

    def services(self) -> list[Service]:
        """Return the services that spawn a greylist; of those of one name the one that counts."""
        return list({line.title: line for line in self.lines() if line.is_greylist}.values())

    def value(self, name: str) -> str:
        """Return main.cf's value, with what it refers to put in; empty if unknown."""
        return self._values.get(name, "")

    def load(self, services: Iterable[Service]) -> None:
        """Ask for the values that main.cf has."""
        self._values = self._ask_for((), *_PARAMETERS, *(f"{s.name}_time_limit" for s in services))

    def view(self, overrides: tuple[str, ...] = ()) -> View:
        """Return what a service with these overrides sees."""
        values = self._ask_for(overrides, *_PARAMETERS)
        names = restrictions(values["smtpd_restriction_classes"])
        classes = self._ask_for(overrides, *names) if names else {}
        return View(
            {**values, **classes}, {name: restrictions(value) for name, value in classes.items()}
        )

    def _ask_for(self, overrides: tuple[str, ...], *names: str) -> dict[str, str]:
        options = [word for override in overrides for word in ("-o", override)]
        # All at once, and once: postconf(1) is slow to start.
        found = _pairs(self.ask("-x", *options))
        missing = [name for name in names if name not in found]
        if missing:
            found |= _pairs(self.ask("-x", *options, *missing))
        return {name: found.get(name, "") for name in names}


def _service(line: str) -> Service:
    """Return the service of a line of master.cf, as postconf(1) prints it."""
    fields = line.split(maxsplit=8)
    rest = fields[8] if len(fields) > 8 else ""
    arguments = tuple(braced or plain for braced, plain in _ARGUMENT.findall(rest))
    name, kind, private, unprivileged, chroot, wakeup, processes, command = fields[:8]
    return Service(name, kind, private, unprivileged, chroot, wakeup, processes, command, arguments)


def _pairs(text: str) -> dict[str, str]:
    """Return the parameters that postconf(1) prints."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def braced(word: str) -> str:
    """Return an argument as it stands in master.cf."""
    return f"{{ {word} }}" if not word or word.startswith("{") or " " in word else word


def restrictions(value: str) -> list[str]:
    """Return the items of a restriction list; a ``{ ... }`` group is one item."""
    return _ITEM.findall(value)


def spans(value: str) -> list[tuple[int, int]]:
    """Return where each item of a restriction list begins and ends."""
    return [item.span() for item in _ITEM.finditer(value)]


def takes_argument(restriction: str) -> bool:
    """Return whether the item behind a restriction is its argument."""
    return bool(_WITH_ARGUMENT.fullmatch(restriction.lower()))


def called(call: str) -> tuple[str, dict[str, str]]:
    """Return the endpoint of a call and its attributes.

    The call is ``{ unix:..., name=value ... }``; a value with a blank stands in braces of its
    own, ``{ name = value }`` (SMTPD_POLICY_README, "Advanced policy client configuration").
    """
    inner = call[1:-1] if call.startswith("{") else call
    words = _ITEM.findall(re.sub(r"\s*=\s*", "=", inner))
    pairs = (word.strip("{} \t").partition("=") for word in words[1:])
    return (words[0] if words else ""), {name.strip(): value.strip() for name, _, value in pairs}
