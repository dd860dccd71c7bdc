"""The changes of main.cf and master.cf, each made by postconf(1)."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from greylist.commands.check.postconf import LISTS, RECIPIENT, RELAY, Postfix, restrictions
from greylist.commands.check.postfix import TIME_LIMIT
from greylist.commands.setup import restriction
from greylist.commands.setup.steps import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from greylist.commands.setup.steps import Steps

NAME = "greylist"
ENDPOINT = f"unix:private/{NAME}"
CALL = f"{{ {ENDPOINT}, default_action=DUNNO, timeout=10s }}"
CALL_WITHOUT_BLANKS = f"{{{ENDPOINT},default_action=DUNNO,timeout=10s}}"
_SUBMISSION = frozenset(("submission", "submissions", "smtps", "587", "465"))


class Configuration:
    """A Postfix's two files.

    Attributes:
        steps: shows and makes the changes.
        directory: where main.cf is, or None for Postfix's default.
    """

    def __init__(self, steps: Steps, directory: str | None) -> None:
        """Read main.cf and master.cf; Refusal if there is no Postfix."""
        self.steps = steps
        self.directory = directory
        program = _program("postconf")
        if not program:
            raise Refusal("there is no postconf here: install Postfix first")
        self._postconf = [program, *(["-c", directory] if directory else [])]
        self._postfix = [_program("postfix"), *(["-c", directory] if directory else [])]
        self._asked = Postfix(program, directory)
        self._asked.load([])

    def queue(self) -> str:
        """Return the queue directory."""
        return self._raw("queue_directory", expanded=True)

    def set_service(self, user: str, argv: str) -> None:
        """Write our line of master.cf, and how long spawn(8) lets a filter live."""
        line = f"{NAME} unix - n n - 0 spawn user={user} {argv}"
        for service in self._asked.services():
            if (service.name, service.type) == (NAME, "unix"):
                self.steps.keep(f"{NAME}/unix of master.cf runs {service.program}")
                break
        else:
            if self._has_service():
                raise Refusal(f"{NAME}/unix of master.cf is something else")
            self.steps.run(*self._postconf, "-M", f"{NAME}/unix={line}")
        limit = f"{NAME}_time_limit"
        if self._asked.ask("-n", limit).strip():
            self.steps.keep(f"{limit} of main.cf")
        else:
            self.steps.run(*self._postconf, f"{limit}={TIME_LIMIT}")

    def remove_service(self) -> None:
        """Take our line out of master.cf."""
        # While the service is there: postconf(1) knows the limit by it.
        if self._asked.ask("-n", f"{NAME}_time_limit").strip():
            self.steps.run(*self._postconf, "-X", f"{NAME}_time_limit")
        if self._has_service():
            self.steps.run(*self._postconf, "-MX", f"{NAME}/unix")

    def _has_service(self) -> bool:
        return bool(self._asked.ask("-M", f"{NAME}/unix").strip())

    def plan(self, is_theirs: Callable[[str], bool] | None) -> dict[str, list[str]]:
        """Return the lists, by their place, that will ask our service; empty if one does.

        Args:
            is_theirs: says which endpoint is that of the service whose place we take, if any.

        Raises:
            Refusal: where to ask is not certain.
        """
        ours = self._places(is_ours)
        if ours:
            self.steps.keep(f"{ours[0][0]} asks {ENDPOINT}")
            return {}
        if is_theirs:
            theirs = self._places(is_theirs)
            if not theirs:
                raise Refusal(f"nothing asks the service to take over from{_by_hand()}")
            return {
                place: restriction.replaced(items, number, CALL) for place, items, number in theirs
            }
        for service, known in FOREIGN.items():
            if self._places(known):
                raise Refusal(f"Postfix asks {service}: take over with --from {service}")
        name, place = self._in_force()
        items = restrictions(self._raw(place))
        relay = self._asked.view().words(RELAY)
        try:
            return {place: restriction.inserted(items, relay, CALL)}
        except restriction.CannotTell as error:
            raise Refusal(f"cannot tell where in {name} to ask: {error}{_by_hand()}") from error

    def ask_service(self, lists: dict[str, list[str]]) -> None:
        """Write the lists that were planned."""
        for place, items in lists.items():
            self._write(place, items)

    def leave_service(self) -> None:
        """Have no list of main.cf and master.cf ask our service."""
        for place, items, number in self._places(is_ours):
            self._write(place, restriction.without(items, number))

    def _places(self, is_asked: Callable[[str], bool]) -> list[tuple[str, list[str], int]]:
        """Return where such an endpoint is asked: the place, its items, and which item."""
        overrides = [name for name in self._overrides() if name.endswith(LISTS)]
        in_main = {
            self._followed(name): None
            for name in (RECIPIENT, RELAY, *LISTS, *self._asked.view().classes)
        }
        found = []
        for place in (*in_main, *overrides):
            items = restrictions(self._raw(place))
            number = restriction.asks(items, is_asked)
            if number is not None:
                found.append((place, items, number))
        return found

    def _in_force(self) -> tuple[str, str]:
        """Return the list that strangers' recipients meet: its name and where it is written."""
        name = RECIPIENT
        lists = {
            override: override.rpartition("/")[0]
            for override in self._overrides()
            if override.endswith(f"/{name}") and override.split("/")[0] not in _SUBMISSION
        }
        strangers = self._strangers()
        if not lists:
            return name, self._followed(name)
        if len(lists) == 1 and strangers == list(lists.values()):
            return name, next(iter(lists))
        raise Refusal(
            f"cannot tell which {name} is in force: master.cf has its own for "
            f"{', '.join(lists.values())}, and strangers come to {', '.join(strangers)}{_by_hand()}"
        )

    def _followed(self, name: str) -> str:
        """Return the parameter that a list's value is, when it is nothing but ``$name``."""
        for _ in range(5):
            value = self._raw(name).strip()
            inner = value[1:].strip("{}()")
            if not (value.startswith("$") and inner.isidentifier()):
                break
            name = inner
        return name

    def _strangers(self) -> list[str]:
        """Return the services of master.cf that speak SMTP, but for users of our own."""
        found = []
        for line in self._asked.ask("-M").splitlines():
            fields = line.split()
            if len(fields) > 7 and fields[7] == "smtpd" and fields[0] not in _SUBMISSION:
                found.append(f"{fields[0]}/{fields[1]}")
        return found

    def _overrides(self) -> list[str]:
        """Return ``service/type/parameter`` for what master.cf overrides."""
        return [line.partition(" = ")[0] for line in self._asked.ask("-P").splitlines()]

    def _raw(self, place: str, expanded: bool = False) -> str:
        """Return a value as it is written, of main.cf or (with slashes) of master.cf."""
        if "/" in place:
            return self._asked.ask("-P", place).partition(" = ")[2].strip()
        return self._asked.ask("-hx" if expanded else "-h", place).strip()

    def _write(self, place: str, items: list[str]) -> None:
        # No commas: one between a restriction and its argument would be right and read wrong.
        value = " ".join(items)
        if "/" in place:
            # postconf(1) takes no blank here, and Postfix a comma for it, in braces too.
            self.steps.run(*self._postconf, "-P", f"{place}={_without_blanks(items)}")
        elif value:
            self.steps.run(*self._postconf, f"{place}={value}")
        else:
            self.steps.run(*self._postconf, "-X", place)

    def reload(self) -> None:
        """Have a Postfix that runs read its files again."""
        command = [self._postfix[0] or "postfix", *self._postfix[1:]]
        done = subprocess.run(
            [*command, "status"], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode:
            self.steps.keep("Postfix does not run: no reload")
        else:
            self.steps.run(*command, "reload")


def _without_blanks(items: list[str]) -> str:
    return ",".join(CALL_WITHOUT_BLANKS if item == CALL else item for item in items)


def is_ours(endpoint: str) -> bool:
    """Return whether an endpoint of main.cf is our service."""
    return endpoint.startswith("unix:") and endpoint.endswith(f"/{NAME}")


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
        f"    check_policy_service {CALL}"
    )


def _program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    return os.path.abspath(found) if found else ""
