"""The doctor on Postfix: is the service there, where it belongs, with the limits it needs.

All is asked of postconf(1), so that what holds is what Postfix sees. The rules are those of
Postfix's SMTPD_POLICY_README and spawn(8).
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

from greylist.commands.check import answers, recipients
from greylist.commands.check.host import Host
from greylist.commands.check.probe import connect
from greylist.commands.check.report import Finding
from greylist.commands.check.smtpd import Doctor, refuses_strangers
from greylist.commands.check.spawned import set_in_file, with_program, with_user, without_option
from greylist.commands.postfix.master import enabled, from_outside, spawning
from greylist.commands.postfix.postconf import Postfix, program
from greylist.commands.postfix.restrictions import LISTS
from greylist.settings import DEFAULT_PATH, SettingsError, parse_time
from greylist.system import has_others, is_system, quoted

if TYPE_CHECKING:
    from greylist.commands.check.account import Account
    from greylist.commands.check.report import Findings
    from greylist.commands.check.spawned import Filter
    from greylist.commands.postfix.master import Service
    from greylist.commands.postfix.restrictions import View
    from greylist.settings import Settings

TIME_LIMIT = 3600
"""Seconds for which spawn(8) should let a filter live; SMTPD_POLICY_README says as much."""


def find(directory: str | None) -> Postfix | None:
    """Return the Postfix of this host; None if there is none."""
    postconf = program("postconf")
    return Postfix(postconf, directory, keep=True) if postconf else None


def examine(postfix: Postfix | None, filters: list[Filter], settings: Settings) -> Findings:
    """Yield the findings about Postfix's configuration.

    Args:
        postfix: None if there is none.
        filters: that it starts, their settings read.
        settings: those of a server, if it starts none.
    """
    if not postfix:
        yield Finding("ok", "postfix", "not looked at: there is no postconf here")
        return
    try:
        lines = postfix.lines()
        postfix.load([one.service for one in filters])
        yield from _services(lines, filters, postfix, settings)
        yield from _smtpds(Host(postfix, lines, filters, settings), lines)
        for one in [one.settings for one in filters] or [settings]:
            yield from recipients.examine(postfix, one)
    except (OSError, subprocess.TimeoutExpired) as error:
        text = f"postconf: {error}"
        yield Finding("warning", "postfix", text, "Mend that first; the rest was not looked at.")


def _smtpds(host: Host, lines: list[Service]) -> Findings:
    """Yield the findings about the smtpds that ask, and about the services that answer."""
    postfix = host.postfix
    started = enabled(lines, postfix.value("master_service_disable"))
    every = [line for line in started if line.command == "smtpd"]
    views = {line.title: postfix.view(line.overrides) for line in every}
    strangers = [
        line
        for line in every
        if line.is_for_strangers and (line.is_public or not refuses_strangers(views[line.title]))
    ]
    outside = from_outside(strangers)
    if not outside:
        text = "no smtpd in master.cf takes mail from outside, so nobody asks greylist"
        remedy = postfix.shell("postconf", "-M", "smtp/inet=smtp inet n - y - - smtpd")
        yield Finding("error", "master.cf", text, remedy)
    seen: set[object] = set()
    for line in outside:
        view = views[line.title]
        if view.key not in seen:
            seen.add(view.key)
            title = line.title if any(o.partition("=")[0] in LISTS for o in line.overrides) else ""
            yield from Doctor(host, view, title).findings()
    asking: list[tuple[Service | None, View]] = [(line, views[line.title]) for line in every]
    yield from answers.examine(host, asking or [(None, postfix.view())])


def _services(
    lines: list[Service], filters: list[Filter], postfix: Postfix, settings: Settings
) -> Findings:
    if not filters and not settings.listen and not _is_served(lines, postfix):
        remedy = postfix.shell("postconf", "-M", f"greylist/unix={_service_line(settings)}")
        yield Finding("error", "master.cf", "no service spawns greylist", remedy)
    for one in filters:
        service = one.service
        same = [line for line in lines if line.title == service.title]
        if len(same) > 1:
            times = "twice" if len(same) == 2 else f"{len(same)} times"
            text = f"{service.name} stands {times} in master.cf: Postfix takes the last one"
            yield Finding("warning", "master.cf", text, _once(service, postfix))
        yield from _master(one, postfix)
        if one.settings.log == "stderr":
            yield _mute(one, postfix)


def _once(service: Service, postfix: Postfix) -> str:
    """Return the commands that leave one line of a service."""
    remove = postfix.shell("postconf", "-MX", service.title)
    return f"{remove}\n{postfix.shell('postconf', '-M', f'{service.title}={service.line}')}"


def _mute(one: Filter, postfix: Postfix) -> Finding:
    """Return the finding that a filter logs to standard error, which goes nowhere."""
    text = f"{one.name}: log = stderr: under spawn(8) that is the policy socket, so nothing is"
    if "log" in one.spawned.options:
        remedy = postfix.change(one.service, lambda words: without_option(words, "log"))
    else:
        remedy = "\n".join(set_in_file(one.path, "log", "", exists=True))
    return Finding("error", "settings", f"{text} logged", remedy)


def _is_served(lines: list[Service], postfix: Postfix) -> bool:
    """Return whether a server, as of systemd's socket, listens where setup --serve has it."""
    endpoint = "unix:private/greylist"
    if any(line.is_at(endpoint) for line in lines):
        return False
    try:
        connect(endpoint, postfix.value("queue_directory")).close()
    except OSError:
        return False
    return True


def _service_line(settings: Settings) -> str:
    own = settings.path not in {"", DEFAULT_PATH}
    argv = [_program(), *(["--config", settings.path] if own else [])]
    return spawning("greylist", _user(settings), argv)


def _user(settings: Settings) -> str:
    """Return as whom a filter should run: the owner of the database's directory, if not root."""
    owner = _owner(settings)
    return owner if owner not in {"", "root", "postfix"} else "greylist"


def _program() -> str:
    return shutil.which("greylist") or "/usr/local/bin/greylist"


def misowned(user: str, settings: Settings) -> bool:
    """Return whether the database's directory should belong to a service's user, and does not."""
    owner = _owner(settings)
    if user in {"", "root", "postfix", owner} or not owner:
        return False
    directory = os.path.dirname(settings.database)
    return os.path.isdir(directory) and not is_system(os.stat(directory))


def _owner(settings: Settings) -> str:
    """Return the name of the owner of the database's directory, empty if unknown."""
    try:
        return pwd.getpwuid(os.stat(os.path.dirname(settings.database)).st_uid).pw_name
    except (OSError, KeyError):
        return ""


def _master(one: Filter, postfix: Postfix) -> Findings:
    """Yield the findings about the service's line of master.cf, and about its limits."""
    found = [*_process(one, postfix), *_limits(one.service, postfix)]
    if found:
        yield from found
    else:
        yield Finding("ok", "master.cf", f"{one.name} spawns {one.service.program}")


def _process(one: Filter, postfix: Postfix) -> Findings:
    service, settings = one.service, one.settings
    name, owner = service.name, _owner(settings)
    user = service.user.partition(":")[0]
    if service.chroot == "y":
        text = f"{name} runs chrooted, where neither Python nor the database is"
        yield Finding(
            "error", "master.cf", text, postfix.shell("postconf", "-F", f"{service.title}/chroot=n")
        )
    if user in {"", "root", "postfix"}:
        text = f"{name}: spawn(8) refuses to run it as {user or 'nobody in particular'}"
        yield Finding("error", "master.cf", text, _as_user(service, _user(settings), postfix))
        return
    if one.account is None:
        text = f"{name}: there is no {service.user}"
        yield Finding("error", "master.cf", text, f"useradd --system --no-create-home {user}")
        return
    directory = os.path.dirname(settings.database)
    if misowned(user, settings):
        text = f"{name} runs as {user}, but {directory} belongs to {owner}"
        remedy = f"chown -R {user} {quoted(directory)}"
        if has_others(settings.database):
            remedy = "Have database = name a file in a directory of its own."
        yield Finding("error", "master.cf", text, remedy)
    complaint = _complaint(service, one.account)
    if complaint:
        text = f"{name}: {user} cannot run {service.program}: {complaint}"
        place = os.path.dirname(os.path.dirname(os.path.realpath(service.program)))
        if os.path.exists(os.path.join(place, "pyvenv.cfg")):  # never for / or /usr
            remedy = f"chmod -R go+rX {quoted(place)}"
        else:
            remedy = postfix.change(service, lambda words: with_program(words, _program()))
        yield Finding("error", "master.cf", text, remedy)


def _as_user(service: Service, user: str, postfix: Postfix) -> str:
    """Return the commands that have a service run as this user."""
    command = postfix.change(service, lambda words: with_user(words, user))
    try:
        pwd.getpwnam(user)
    except KeyError:
        return f"useradd --system --no-create-home {user}\n{command}"
    return command


def _complaint(service: Service, account: Account) -> str:
    """Return why the program does not run; root tries it as its user, others as themselves."""
    identity: dict[str, Any] = {"user": account.uid, "group": account.gid, "extra_groups": []}
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
