"""The doctor on Postfix: is the service there, where it belongs, with the limits it needs.

All is asked of postconf(1), so that what holds is what Postfix sees. The rules are those of
Postfix's SMTPD_POLICY_README and spawn(8).
"""

from __future__ import annotations

import grp
import itertools
import os
import pwd
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from greylist.commands.check.postconf import EARLY, LATE, LISTS, Postfix, Service, called, position
from greylist.commands.check.report import Finding
from greylist.settings import SettingsError, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.commands.check.report import Findings
    from greylist.settings import Settings

GUARDS = frozenset(("reject_unauth_destination", "defer_unauth_destination", "reject"))
ENDS = ("permit", "reject", "defer")
_TABLE = re.compile("check_[a-z_]+_access", re.IGNORECASE)

TIME_LIMIT = 3600
"""Seconds for which spawn(8) should let a filter live; SMTPD_POLICY_README says as much."""


def find(directory: str | None) -> Postfix | None:
    """Return the Postfix of this host; None if there is none."""
    program = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin")
    return Postfix(program, directory) if program else None


def examine(settings: Settings, directory: str | None) -> Findings:
    """Yield what is to say about Postfix's configuration."""
    postfix = find(directory)
    if not postfix:
        yield Finding("ok", "postfix", "not looked at: there is no postconf here")
        return
    try:
        services = postfix.services()
        postfix.load(services)
        served = [] if services else list(_served(postfix, settings))
        if not services and not served:
            remedy = "See master.cf.example, or append:\n" + _service_lines(settings)
            yield Finding("error", "master.cf", "no service spawns greylist", remedy)
        for service in served:
            yield Finding("ok", "master.cf", f"{service.endpoint} is greylist serve's")
            yield from _main(service, postfix, settings)
        for service in services:
            yield from _master(service, postfix, settings)
            yield from _main(service, postfix, settings)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"postconf: {error}"
        yield Finding("warning", "postfix", text, "Mend that first; the rest was not looked at.")


def _served(postfix: Postfix, settings: Settings) -> Iterator[Service]:
    """Yield the places of greylist serve that main.cf asks."""
    usual = Service("greylist", "unix", "y", "n", "0", "", ("greylist",))
    places = [usual, *map(_listening, settings.listen)]
    lists = [*postfix.lists().values(), *postfix.classes.values()]
    for place in places:
        if any(position(items, place) is not None for items in lists):
            yield place
            return


def _listening(where: str) -> Service:
    """Return a place where greylist serve listens as if master.cf had it."""
    kind, _, name = where.partition(":")
    if kind == "unix":
        name = os.path.basename(name)
    return Service(name, kind, "y", "n", "0", "", ("greylist",))


def _service_lines(settings: Settings) -> str:
    owner = _owner(settings)
    user = owner if owner not in {"", "root"} else "greylist"
    return f"greylist unix - n n - 0 spawn\n  user={user} {_argv()}"


def _argv() -> str:
    program = shutil.which("greylist") or "/usr/local/bin/greylist"
    return f"{{ argv={program} }}" if " " in program else f"argv={program}"


def _owner(settings: Settings) -> str:
    """Return who owns the database's directory, or nothing."""
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
    user, _, group = service.user.partition(":")
    edit = f'postconf -F "{name}/{service.type}/'
    if service.chroot == "y":
        text = f"{name} runs chrooted, where neither Python nor the database is"
        yield Finding("error", "master.cf", text, edit + 'chroot=n"')
    if user in {"", "root", "postfix"}:
        text = f"{name}: spawn(8) refuses to run it as {user or 'nobody in particular'}"
        yield Finding("error", "master.cf", text, "Write user=greylist, or whom you like.")
        return
    try:
        entry = pwd.getpwnam(user)
        gid = grp.getgrnam(group).gr_gid if group else entry.pw_gid
    except KeyError:
        text = f"{name}: there is no {service.user}"
        yield Finding("error", "master.cf", text, f"useradd --system --no-create-home {user}")
        return
    if owner and user != owner:
        directory = os.path.dirname(settings.database)
        text = f"{name} runs as {user}, but {directory} belongs to {owner}"
        yield Finding("error", "master.cf", text, f"chown -R {user} {directory}")
    complaint = _complaint(service, entry.pw_uid, gid)
    if complaint:
        text = f"{name}: {user} cannot run {service.program}: {complaint}"
        place = os.path.dirname(os.path.dirname(os.path.realpath(service.program)))
        remedy = f"Write {_argv()}"
        if os.path.exists(os.path.join(place, "pyvenv.cfg")):  # never for / or /usr
            remedy += f", or: chmod -R go+rX {place}"
        yield Finding("error", "master.cf", text, remedy)


def _complaint(service: Service, uid: int, gid: int) -> str:
    """Return why the program does not run; root tries it as its user, others as themselves."""
    identity: dict[str, Any] = {"user": uid, "group": gid, "extra_groups": []}
    try:
        done = subprocess.run(
            [*service.argv, "--version"],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=30,
            check=False,
            **(identity if os.geteuid() == 0 else {}),
        )
    except OSError as error:
        return str(error.strerror)
    except subprocess.TimeoutExpired as error:
        return str(error)
    if not done.returncode:
        return ""
    return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]


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
    lists = postfix.lists()
    places = {name: position(items, service) for name, items in lists.items()}
    asking = {name: place for name, place in places.items() if place is not None}
    for name, place in asking.items():
        items = lists[name]
        yield _place(name, items[:place], service, _guards(lists[LISTS[1]]))
        if not name.endswith(LATE):
            yield from _call(items[place + 1], name, postfix, settings)
    if not asking:
        yield from _by_table(service, lists, postfix, settings)


def _guards(items: list[str]) -> bool:
    """Return whether these restrictions let no mail through that is for elsewhere."""
    return not GUARDS.isdisjoint(effective(items))


def effective(items: list[str]) -> list[str]:
    """Return the restrictions that are more than a warning, in lower case."""
    pairs = itertools.pairwise(["", *map(str.lower, items)])
    return [item for before, item in pairs if before != "warn_if_reject"]


def _place(name: str, before: list[str], service: Service, relayed: bool) -> Finding:
    """Return whether a list asks the service at the right place, which is after these others.

    If smtpd_relay_restrictions keep the host from being an open relay, it is ``relayed``.
    """
    asks = f"{name} asks {service.endpoint}"
    end = next((item for item in effective(before) if item in ENDS), "")
    if end:
        text = f"{asks} after {end}, where nothing is asked any more"
        return Finding("error", "main.cf", text, f"Move check_policy_service before {end}.")
    if name.endswith(LATE):
        text = f"{asks}, where mail to several has no recipient"
        return Finding("warning", "main.cf", text, f"Ask it in {LISTS[0]}.")
    if name.endswith(EARLY):
        text = f"{asks}, before the relay check: strangers fill the database"
        return Finding("warning", "main.cf", text, f"Ask it in {LISTS[0]}.")
    if _guards(before):
        return Finding("ok", "main.cf", f"{asks}, after the relay check")
    remedy = f"In {name}, write reject_unauth_destination before check_policy_service."
    if relayed and not name.endswith(LISTS[1]):
        text = f"{asks} with no reject_unauth_destination before it"
        return Finding("warning", "main.cf", f"{text}: strangers fill the database", remedy)
    text = f"{asks} before reject_unauth_destination: an open relay is near"
    return Finding("error", "main.cf", text, remedy)


def _by_table(
    service: Service, lists: dict[str, list[str]], postfix: Postfix, settings: Settings
) -> Findings:
    """Yield the same where no list asks the service, but a class that a table may name."""
    tables = [name for name, items in lists.items() if any(map(_TABLE.fullmatch, items))]
    classes = {name: position(items, service) for name, items in postfix.classes.items()}
    asking = {name: place for name, place in classes.items() if place is not None}
    if not (asking and tables):
        remedy = f"In {LISTS[0]}, after reject_unauth_destination:\n{_call_line(service.endpoint)}"
        yield Finding("error", "main.cf", f"nothing asks {service.endpoint}", remedy)
    else:
        for name, place in asking.items():
            text = f"{name} asks {service.endpoint}, for whom a table in {tables[0]} names it"
            yield Finding("ok", "main.cf", text)
            yield from _call(postfix.classes[name][place + 1], name, postfix, settings)


def _call_line(endpoint: str) -> str:
    return f"check_policy_service {{ {endpoint}, default_action=DUNNO, timeout=10s }}"


def _call(call: str, name: str, postfix: Postfix, settings: Settings) -> Findings:
    """Yield what is wrong with how the service is asked."""
    endpoint, attributes = called(call)

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
