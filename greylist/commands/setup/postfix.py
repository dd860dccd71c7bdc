"""The changes of main.cf and master.cf, each made by postconf(1)."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cached_property, partial
from typing import TYPE_CHECKING

from greylist.commands.check.postfix import TIME_LIMIT
from greylist.commands.postfix.master import enabled, from_outside, parts, spawning
from greylist.commands.postfix.postconf import Postfix, program
from greylist.commands.postfix.restrictions import (
    CALL,
    LISTS,
    RECIPIENT,
    RELAY,
    packed,
    policy_call,
    restrictions,
)
from greylist.commands.setup import restriction
from greylist.commands.setup.steps import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from greylist.commands.postfix.master import Service
    from greylist.commands.postfix.restrictions import View
    from greylist.commands.setup.steps import Steps

NAME = "greylist"
ENDPOINT = f"unix:private/{NAME}"
_CALL = policy_call(ENDPOINT)
_REFERENCE = re.compile(r"\$[{(]?(\w+)")


class Configuration:
    """A Postfix's two files.

    Attributes:
        steps: shows and makes the changes.
        directory: where main.cf is, or None for Postfix's default.
    """

    def __init__(self, steps: Steps, directory: str | None) -> None:
        """Read main.cf and master.cf; Refusal if there is no Postfix, or no right to change it."""
        self.steps = steps
        self.directory = directory
        postconf = program("postconf")
        if not postconf:
            raise Refusal("there is no postconf here: install Postfix first")
        self._postconf = [postconf, *(["-c", directory] if directory else [])]
        self._postfix = [
            program("postfix") or "postfix",
            *(["-c", directory] if directory else []),
        ]
        self._asked = Postfix(postconf, directory)
        self._read()
        # Before any change, as postfix(1) waits for a file to be some seconds old.
        self._runs = _succeeds(*self._postfix, "status")

    def _read(self) -> None:
        try:
            self._main = self._asked.view()
            self._lines = self._asked.lines()
        except OSError as error:
            raise Refusal(f"Postfix is not set up here: {error}") from error
        etc = self._raw("config_directory")
        for path in (etc, os.path.join(etc, "main.cf"), os.path.join(etc, "master.cf")):
            if not self.steps.dry and not os.access(path, os.W_OK):
                raise Refusal(f"{path} cannot be changed: is it read-only, or are you not root?")

    def server_socket(self) -> str:
        """Return where Postfix looks for the service that it asks."""
        return os.path.join(self._raw("queue_directory", expanded=True), "private", NAME)

    def owner(self) -> str:
        """Return as whom Postfix runs, and spawn(8) nothing."""
        return self._raw("mail_owner", expanded=True)

    def _services(self) -> list[Service]:
        """Return the services that spawn a greylist."""
        return [line for line in self._lines if line.is_greylist]

    def _is_ours(self, endpoint: str) -> bool:
        return is_ours(endpoint) or any(service.is_at(endpoint) for service in self._services())

    def _is_of(self, origin: str, told: Iterable[str], endpoint: str) -> bool:
        """Return whether an endpoint is another service's, by its name or by its options."""
        known = FOREIGN[origin](endpoint) or any(map(endpoint.endswith, told))
        return known and not self._is_ours(endpoint)

    def set_service(self, user: str, argv: list[str]) -> None:
        """Write our line of master.cf, and how long spawn(8) lets a filter live.

        A service of another name that is asked already is as good.
        """
        for service in self._services():
            if not self._asking(service.is_at) and service.title != f"{NAME}/unix":
                continue
            if os.access(service.program, os.X_OK):
                self.steps.keep(f"{service.title} of master.cf runs {service.program}")
                name = service.name
                break
        else:
            name = NAME
            line = spawning(NAME, user, argv)
            self.steps.run(*self._postconf, "-M", f"{NAME}/unix={line}")
        limit = f"{name}_time_limit"
        if self._asked.ask("-n", limit).strip():
            self.steps.keep(f"{limit} of main.cf")
        else:
            self.steps.run(*self._postconf, f"{limit}={TIME_LIMIT}")

    def remove_services(self) -> None:
        """Take out of master.cf what spawns a greylist."""
        limits = [f"{service.name}_time_limit" for service in self._services()]
        # While the service is there: postconf(1) knows the limit by it.
        for limit in dict.fromkeys([*limits, f"{NAME}_time_limit"]):
            if self._asked.ask("-n", limit).strip():
                self.steps.run(*self._postconf, "-X", limit)
        for service in self._services():
            self.steps.run(*self._postconf, "-MX", service.title)

    def plan(
        self, origin: str | None, told: Iterable[str] = (), serve: bool = False
    ) -> dict[str, str]:
        """Return the lists, by their place, as they will ask our service; empty if one does.

        Args:
            origin: the service whose place is taken, if any.
            told: how the endpoints end that its options name.
            serve: whether ours is to be a server, and not spawned.

        Raises:
            Refusal: where to ask is not certain.
        """
        self._refuse_our_name()
        ours = self._asking(self._is_ours)
        for place, text in ours.items():
            if serve and restriction.asks(text, is_ours) is None:
                raise Refusal(f"{place} asks a greylist of another name: first setup --remove")
        if origin:
            return self._taken_over(origin, ours, partial(self._is_of, origin, tuple(told)))
        self._tell_of_others(bool(ours))
        if ours:
            self.steps.keep(f"{next(iter(ours))} asks greylist")
            return {}
        name, place, view = self._in_force()
        try:
            text = restriction.inserted(self._raw(place), view.words(RELAY), _CALL)
            return {place: self._writable(place, text)}
        except restriction.CannotTell as error:
            raise Refusal(f"cannot tell where in {name} to ask: {error}{_by_hand()}") from error

    def _refuse_our_name(self) -> None:
        """Leave alone a service of our name that is not ours."""
        for line in self._lines:
            if line.title == f"{NAME}/unix" and not line.is_greylist:
                raise Refusal(
                    f"{line.title} of master.cf is something else ({line.command} "
                    f"{' '.join(line.arguments)}): give it another name, there and in main.cf"
                )

    def _tell_of_others(self, is_set_up: bool) -> None:
        """Say of another greylisting service; Refusal if it is there in our place."""
        for service in FOREIGN:
            if self._asking(partial(self._is_of, service, ())):
                if not is_set_up:
                    raise Refusal(f"Postfix asks {service}: take over with --from {service}")
                self.steps.say(f"Postfix asks {service} as well: end that with --from {service}")

    def _taken_over(
        self, origin: str, ours: dict[str, str], is_theirs: Callable[[str], bool]
    ) -> dict[str, str]:
        """Return the lists with our call in the place of another service's."""
        lists = {}
        for place, before in self._asking(is_theirs).items():
            text, asks_us = before, place in ours
            while (number := restriction.asks(text, is_theirs)) is not None:
                if asks_us:
                    text = restriction.without(text, number)
                else:
                    text, asks_us = restriction.replaced(text, number, _CALL), True
            lists[place] = self._writable(place, text)
        if ours and not lists:
            self.steps.keep(f"{next(iter(ours))} asks greylist")
        elif not lists:
            raise Refusal(
                f"nothing asks {origin} where it usually listens; if it is asked elsewhere, name "
                f"its options with --from-options{_by_hand()}"
            )
        return lists

    def ask_service(self, lists: dict[str, str]) -> None:
        """Write the lists that were planned."""
        for place, text in lists.items():
            self._write(place, text)

    def leave_services(self) -> None:
        """Have no list of main.cf and master.cf ask a greylist that Postfix starts, or ours."""
        relay = self._main.words(RELAY)
        for place, before in self._asking(self._is_ours).items():
            text = before
            while (number := restriction.asks(text, self._is_ours)) is not None:
                text = restriction.without(text, number)
            # What a set-up wrote where no list was; the relay list refuses as much.
            made = self._writable(place, restriction.fresh(relay))
            if text == made and restriction.is_guarded(relay):
                text = ""
            self._write(place, self._writable(place, text))

    def _asking(self, is_asked: Callable[[str], bool]) -> dict[str, str]:
        """Return the lists, by their place, that ask such an endpoint."""
        return {
            place: text
            for place, text in self._lists.items()
            if restriction.asks(text, is_asked) is not None
        }

    @cached_property
    def _lists(self) -> dict[str, str]:
        """The lists by their place, as they are before any is written."""
        overrides = [
            f"{line.title}/{name}"
            for line in self._lines
            for name in (override.partition("=")[0] for override in line.overrides)
            if name in LISTS
        ]
        found = self._values([*LISTS, *self._main.classes])
        return found | {place: self._raw(place) for place in overrides}

    def _values(self, names: list[str]) -> dict[str, str]:
        """Return parameters of main.cf as they are written, and those that they refer to."""
        found: dict[str, str] = {}
        while names:
            pairs = (line.partition("=") for line in self._asked.ask(*names).splitlines())
            new = {name.strip(): value.strip() for name, _, value in pairs}
            found |= {name: new.get(name, "") for name in names}
            referred = [name for value in new.values() for name in _REFERENCE.findall(value)]
            names = [name for name in dict.fromkeys(referred) if name not in found]
        return found

    def _in_force(self) -> tuple[str, str, View]:
        """Return the list that strangers' recipients meet: its name, its place, and their view."""
        strangers = self._strangers()
        own = [
            s.title for s in strangers if any(o.startswith(f"{RECIPIENT}=") for o in s.overrides)
        ]
        if not strangers:
            raise Refusal(
                f"no smtpd in {self._raw('config_directory')}/master.cf takes mail from outside; "
                "name another Postfix with --postfix (postmulti -l shows them)"
            )
        if not own:
            return RECIPIENT, self._followed(RECIPIENT), self._main
        if len(strangers) == 1:
            place = self._followed(f"{own[0]}/{RECIPIENT}")
            return RECIPIENT, place, self._asked.view(strangers[0].overrides)
        raise Refusal(
            f"cannot tell which {RECIPIENT} is in force: master.cf has its own for "
            f"{', '.join(own)}, and strangers come to {', '.join(s.title for s in strangers)}"
            f"{_by_hand()}"
        )

    def _followed(self, place: str) -> str:
        """Return the parameter that a list's value is, when it is nothing but ``$name``."""
        for _ in range(5):
            value = self._raw(place)
            inner = value[1:].strip("{}()")
            if not (value.startswith("$") and inner.isidentifier()):
                break
            place = inner
        return place

    def _strangers(self) -> list[Service]:
        """Return the services of master.cf to which mail comes from outside."""
        started = enabled(self._lines, self._raw("master_service_disable"))
        return from_outside([service for service in started if service.is_for_strangers])

    def _raw(self, place: str, expanded: bool = False) -> str:
        """Return a value as it is written, of main.cf or (with slashes) of master.cf."""
        if "/" in place:
            return self._asked.ask("-P", place).partition(" = ")[2].strip()
        return self._asked.ask("-hx" if expanded else "-h", place).strip()

    def _writable(self, place: str, text: str) -> str:
        """Return a list as postconf(1) can write it there; Refusal if it cannot."""
        if "/" not in place:
            return text
        try:
            return packed(restrictions(text))
        except ValueError as error:
            raise Refusal(f"cannot write {error} into {place}{_by_hand()}") from error

    def _write(self, place: str, text: str) -> None:
        if "/" in place:
            self.steps.run(*self._postconf, "-P", f"{place}={text}")
        elif text or place != RECIPIENT:
            self.steps.run(*self._postconf, f"{place}={text}")
        else:
            self.steps.run(*self._postconf, "-X", place)

    def reload(self) -> None:
        """Have a Postfix that runs read its files again."""
        if self._runs:
            self.steps.run(*self._postfix, "reload")
        else:
            self.steps.keep("Postfix does not run: no reload")


def is_ours(endpoint: str) -> bool:
    """Return whether an endpoint of main.cf is our service."""
    kind, place = parts(endpoint)
    return kind == "unix" and place.endswith(f"/{NAME}")


def is_postgrey(endpoint: str) -> bool:
    """Return whether an endpoint is where postgrey listens: on Debian, Fedora and by its manual."""
    return "postgrey" in endpoint or endpoint.rpartition(":")[2] in {"10023", "60000"}


def is_sqlgrey(endpoint: str) -> bool:
    """Return whether an endpoint is where sqlgrey listens."""
    return "sqlgrey" in endpoint or endpoint.rpartition(":")[2] == "2501"


FOREIGN: dict[str, Callable[[str], bool]] = {"postgrey": is_postgrey, "sqlgrey": is_sqlgrey}
"""The services whose place is taken, and how their endpoints are known."""


def _by_hand() -> str:
    return (
        f".\nPut it there yourself, after reject_unauth_destination, and run setup again:\n"
        f"    {CALL} {_CALL}"
    )


def _succeeds(*command: str) -> bool:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return not done.returncode
