"""The doctor on Postfix: is the service there, where it belongs, with the limits it needs.

All is asked of postconf(1), so that what holds is what Postfix sees. The rules are those of
Postfix's SMTPD_POLICY_README and spawn(8).
"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from greylist.commands.check import recipients, smtpd
from greylist.commands.check.postconf import Postfix
from greylist.commands.check.report import Finding
from greylist.settings import SettingsError, parse_time
from greylist.system import is_system

if TYPE_CHECKING:
    from greylist.commands.check.postconf import Service
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings

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
        lines = postfix.lines()
        services = postfix.services()
        postfix.load(services)
        yield from _services(lines, services, postfix, settings)
        yield from smtpd.examine(postfix, lines, services, settings)
        yield from recipients.examine(postfix, settings)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"postconf: {error}"
        yield Finding("warning", "postfix", text, "Mend that first; the rest was not looked at.")


def _services(
    lines: list[Service], services: list[Service], postfix: Postfix, settings: Settings
) -> Findings:
    if not services and not settings.listen:
        remedy = "See master.cf.example, or append:\n" + _service_lines(settings)
        yield Finding("error", "master.cf", "no service spawns greylist", remedy)
    for service in services:
        if sum(line.title == service.title for line in lines) > 1:
            text = f"{service.name} stands twice in master.cf: Postfix takes the last one"
            yield Finding("warning", "master.cf", text, "Delete the others, then: postfix reload")
        yield from _master(service, postfix, settings)
    if services and settings.log == "stderr":
        text = "log = stderr: under spawn(8) that is the policy socket, so nothing is logged"
        where = settings.path or "the settings"
        remedy = f"Write log = syslog into {where}, and take --log out of argv in master.cf."
        yield Finding("error", "settings", text, remedy)


def _service_lines(settings: Settings) -> str:
    owner = _owner(settings)
    user = owner if owner not in {"", "root"} else "greylist"
    return f"greylist unix - n n - 0 spawn\n  user={user} {_argv()}"


def _argv() -> str:
    program = shutil.which("greylist") or "/usr/local/bin/greylist"
    return f"{{ argv={program} }}" if " " in program else f"argv={program}"


def misowned(user: str, settings: Settings) -> bool:
    """Return whether the database's directory should belong to a service's user, and does not."""
    owner = _owner(settings)
    if user in {"", "root", "postfix", owner} or not owner:
        return False
    return not is_system(os.stat(os.path.dirname(settings.database)))


def _owner(settings: Settings) -> str:
    """Return who owns the database's directory, or nothing."""
    try:
        return pwd.getpwuid(os.stat(os.path.dirname(settings.database)).st_uid).pw_name
    except (OSError, KeyError):
        return ""


def _master(service: Service, postfix: Postfix, settings: Settings) -> Findings:
    """Yield what is wrong with the service itself."""
    found = [*_process(service, postfix, settings), *_limits(service, postfix)]
    if found:
        yield from found
    else:
        yield Finding("ok", "master.cf", f"{service.name} spawns {service.program}")


def _process(service: Service, postfix: Postfix, settings: Settings) -> Findings:
    name, owner = service.name, _owner(settings)
    user, _, group = service.user.partition(":")
    if service.chroot == "y":
        text = f"{name} runs chrooted, where neither Python nor the database is"
        yield Finding(
            "error", "master.cf", text, postfix.shell("postconf", "-F", f"{service.title}/chroot=n")
        )
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
    directory = os.path.dirname(settings.database)
    if misowned(user, settings):
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
        remedy = postfix.shell("postconf", "-F", f"{service.title}/process_limit=0")
        yield Finding("warning", "master.cf", text, remedy)
    limit = postfix.value(f"{name}_time_limit") or postfix.value("command_time_limit")
    try:
        seconds = parse_time(limit)
    except SettingsError:
        return
    if seconds < TIME_LIMIT:
        text = f"{name}: spawn(8) kills a filter after {limit}, in the middle of its work"
        remedy = postfix.shell("postconf", f"{name}_time_limit={TIME_LIMIT}")
        yield Finding("warning", "main.cf", text, remedy)


def _limit(service: Service, postfix: Postfix) -> str:
    return postfix.value("default_process_limit") if service.processes == "-" else service.processes
