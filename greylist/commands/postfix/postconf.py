"""What postconf(1) says of a Postfix, and the commands that change it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

from greylist.commands.postfix.master import Service, braced, parse_service
from greylist.commands.postfix.restrictions import LISTS, View, restrictions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_PARAMETERS = (
    *LISTS,
    "command_time_limit",
    "compatibility_level",
    "default_process_limit",
    "export_environment",
    "master_service_disable",
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
        return [parse_service(line) for line in self.ask("-M").splitlines() if line.strip()]

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


def program(name: str) -> str:
    """Return the path of a program of Postfix's; empty if there is none."""
    # Whoever becomes root by su(1) has a PATH without it.
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return os.path.abspath(found) if found else ""


def _pairs(text: str) -> dict[str, str]:
    """Return the parameters that postconf(1) prints."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
