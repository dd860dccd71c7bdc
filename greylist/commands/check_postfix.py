"""The doctor on Postfix: is the service there, where it belongs, with the limits it needs.

All is asked of postconf(1), so that what holds is what Postfix sees. The rules are those of
Postfix's SMTPD_POLICY_README and spawn(8).
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.finding import Finding
from greylist.settings import SettingsError, parse_time

if TYPE_CHECKING:
    from greylist.commands.finding import Findings
    from greylist.settings import Settings

_LISTS = ("smtpd_recipient_restrictions", "smtpd_relay_restrictions")
_LATE = ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")
_PARAMETERS = (
    *_LISTS,
    *_LATE,
    "command_time_limit",
    "default_process_limit",
    "smtpd_policy_service_default_action",
    "smtpd_policy_service_timeout",
)
_GUARDS = ("reject_unauth_destination", "defer_unauth_destination", "reject")
_ITEM = re.compile(r"\{[^{}]*\}|[^\s,{}]+")
_ARGUMENT = re.compile(r"\{\s*(.*?)\s*\}(?!\S)|(\S+)")  # master(5): in braces, one with blanks

TIME_LIMIT = 3600
"""Seconds for which spawn(8) should let a filter live; SMTPD_POLICY_README says as much."""


class Service(NamedTuple):
    """A line of master.cf."""

    name: str
    type: str
    private: str
    chroot: str
    processes: str
    user: str
    program: str

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
    """What postconf(1) says of a configuration."""

    def __init__(self, program: str, directory: str | None) -> None:
        self._command = [program, *(["-c", directory] if directory else [])]
        self._values: dict[str, str] = {}

    def ask(self, *arguments: str) -> str:
        """Return what postconf prints; OSError with its complaint if there is one."""
        result = subprocess.run(
            [*self._command, *arguments], capture_output=True, text=True, timeout=30, check=False
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
        limits = [f"{service.name}_time_limit" for service in services]
        for line in self.ask("-x", *_PARAMETERS, *limits).splitlines():
            name, _, value = line.partition("=")
            self._values[name.strip()] = value.strip()

    def lists(self) -> dict[str, list[str]]:
        """Return the restriction lists by name, those that master.cf overrides included."""
        names = (*_LISTS, *_LATE)
        lists = {name: restrictions(self.value(name)) for name in names}
        for line in self.ask("-Px").splitlines():
            name, _, value = line.partition(" = ")
            if name.endswith(names):
                lists[name] = restrictions(value)
        return lists


def service_of(line: str) -> Service | None:
    """Return the service of a line of master.cf if it is ours."""
    fields = line.split(maxsplit=8)
    if len(fields) < 9 or fields[7] != "spawn":
        return None
    arguments = [braced or plain for braced, plain in _ARGUMENT.findall(fields[8])]
    user = next((a[5:] for a in arguments if a.startswith("user=")), "")
    start = next((n for n, a in enumerate(arguments) if a.startswith("argv=")), None)
    words = arguments[start:] if start is not None else []
    program = words[0][5:] if words else ""
    if not any(os.path.basename(word) == "greylist" for word in [program, *words[1:]]):
        return None
    return Service(fields[0], fields[1], fields[2], fields[4], fields[6], user, program)


def examine(settings: Settings, directory: str | None) -> Findings:
    """Yield what is to say about Postfix's configuration."""
    program = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin")
    if not program:
        yield Finding("ok", "postfix", "not looked at: there is no postconf here")
        return
    postfix = Postfix(program, directory)
    try:
        services = postfix.services()
        if not services:
            remedy = "See master.cf.example, or append:\n" + _service_lines(settings)
            yield Finding("error", "master.cf", "no service spawns greylist", remedy)
        postfix.load(services)
        for service in services:
            yield from _master(service, postfix, settings)
            yield from _main(service, postfix, settings)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"postconf: {error}"
        yield Finding("warning", "postfix", text, "Mend that first; the rest was not looked at.")


def _service_lines(settings: Settings) -> str:
    owner = _owner(settings)
    user = owner if owner not in {"", "root"} else "greylist"
    return f"greylist unix - n n - 0 spawn\n  user={user} {_argv()}"


def _argv() -> str:
    program = shutil.which("greylist") or "/usr/local/bin/greylist"
    return f"{{ argv={program} }}" if " " in program else f"argv={program}"


def _owner(settings: Settings) -> str:
    """Return who owns the database's directory, or nothing."""
    import pwd

    try:
        return pwd.getpwuid(os.stat(os.path.dirname(settings.database)).st_uid).pw_name
    except (OSError, KeyError):
        return ""


def _master(service: Service, postfix: Postfix, settings: Settings) -> Findings:
    """Yield what is wrong with the service itself."""
    found = [*_process(service, settings), *_limits(service, postfix)]
    if found:
        yield from found
    else:
        yield Finding("ok", "master.cf", f"{service.name} spawns {service.program}")


def _process(service: Service, settings: Settings) -> Findings:
    name, owner = service.name, _owner(settings)
    user = service.user.partition(":")[0]
    edit = f'postconf -F "{name}/{service.type}/'
    if service.chroot == "y":
        text = f"{name} runs chrooted, where neither Python nor the database is"
        yield Finding("error", "master.cf", text, edit + 'chroot=n"')
    if not os.access(service.program, os.X_OK):
        text = f"{name}: {service.program} is no program"
        yield Finding("error", "master.cf", text, f"Write {_argv()}")
    if user in {"", "root", "postfix"}:
        text = f"{name}: spawn(8) refuses to run it as {user or 'nobody in particular'}"
        yield Finding("error", "master.cf", text, "Write user=greylist, or whom you like.")
    elif owner and user != owner:
        directory = os.path.dirname(settings.database)
        text = f"{name} runs as {user}, but {directory} belongs to {owner}"
        yield Finding("error", "master.cf", text, f"chown -R {user} {directory}")


def _limits(service: Service, postfix: Postfix) -> Findings:
    name = service.name
    if service.processes != "0":
        text = f"{name}: at most {_limit(service, postfix)} filters; an smtpd more has to wait"
        remedy = f'postconf -F "{name}/{service.type}/process_limit=0"'
        yield Finding("warning", "master.cf", text, remedy)
    limit = postfix.value(f"{name}_time_limit") or postfix.value("command_time_limit")
    try:
        seconds = parse_time(limit)
    except SettingsError:
        return
    if seconds < TIME_LIMIT:
        text = f"{name}: spawn(8) kills a filter after {limit}, in the middle of its work"
        yield Finding("warning", "main.cf", text, f"postconf {name}_time_limit={TIME_LIMIT}")


def _limit(service: Service, postfix: Postfix) -> str:
    return postfix.value("default_process_limit") if service.processes == "-" else service.processes


def _main(service: Service, postfix: Postfix, settings: Settings) -> Findings:
    """Yield whether main.cf asks the service, at the right place and with sane limits."""
    relay = restrictions(postfix.value("smtpd_relay_restrictions"))
    guarded = any(item in _GUARDS for item in relay)
    lists = postfix.lists()
    asked = False
    for name, items in lists.items():
        place = position(items, service)
        if place is None:
            continue
        asked = True
        if name.endswith(_LATE):
            text = f"{name} asks {service.endpoint}, where mail to several has no recipient"
            yield Finding("warning", "main.cf", text, f"Ask it in {_LISTS[0]}.")
            continue
        if any(item in _GUARDS for item in items[:place]):
            yield Finding("ok", "main.cf", f"{name} asks {service.endpoint}, after the relay check")
        else:
            yield _unguarded(name, service, guarded and not name.endswith(_LISTS[1]))
        yield from _call(items[place + 1], name, postfix, settings)
    if not asked:
        remedy = f"In {_LISTS[0]}, after reject_unauth_destination:\n{_call_line(service.endpoint)}"
        yield Finding("error", "main.cf", f"nothing asks {service.endpoint}", remedy)


def _call_line(endpoint: str) -> str:
    return f"check_policy_service {{ {endpoint}, default_action=DUNNO, timeout=10s }}"


def restrictions(value: str) -> list[str]:
    """Return the items of a restriction list; a ``{ ... }`` group is one item."""
    return _ITEM.findall(value)


def position(items: list[str], service: Service) -> int | None:
    """Return where ``check_policy_service`` asks this service, or nothing."""
    for number, (item, call) in enumerate(itertools.pairwise(items)):
        if item == "check_policy_service" and service.is_at(_called(call)[0]):
            return number
    return None


def _called(call: str) -> tuple[str, dict[str, str]]:
    """Return the endpoint of a call and its attributes (``{ unix:..., name=value ... }``)."""
    words = re.split(r"[\s,]+", re.sub(r"\s*=\s*", "=", call.strip("{} \t")))
    pairs = (word.partition("=") for word in words[1:])
    return words[0], {name: value for name, _, value in pairs}


def _unguarded(name: str, service: Service, relayed: bool) -> Finding:
    remedy = f"In {name}, write reject_unauth_destination before check_policy_service."
    if relayed:
        text = f"{name} asks {service.endpoint} with no reject_unauth_destination before it"
        return Finding("warning", "main.cf", f"{text}: strangers fill the database", remedy)
    text = f"{name} asks {service.endpoint} before reject_unauth_destination: an open relay is near"
    return Finding("error", "main.cf", text, remedy)


def _call(call: str, name: str, postfix: Postfix, settings: Settings) -> Findings:
    """Yield what is wrong with how the service is asked."""
    endpoint, attributes = _called(call)

    def get(attribute: str) -> str:
        return attributes.get(attribute) or postfix.value(f"smtpd_policy_service_{attribute}")

    remedy = _call_line(endpoint)
    if not get("default_action").upper().startswith("DUNNO"):
        text = f"{name}: in trouble Postfix answers {get('default_action')!r}"
        yield Finding("warning", "main.cf", text, f"To let mail through then: {remedy}")
    try:
        timeout = parse_time(get("timeout"))
    except SettingsError:
        return
    if timeout <= settings.lock_timeout:
        text = f"{name}: Postfix waits {timeout}s, no longer than lock_timeout"
        text += f" ({settings.lock_timeout}s), so the filter cannot say why"
        yield Finding("warning", "main.cf", text, f"Set lock_timeout lower, or: {remedy}")
    elif timeout > 60:
        text = f"{name}: a client waits {timeout}s when the filter hangs"
        yield Finding("warning", "main.cf", text, remedy)
