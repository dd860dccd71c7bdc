"""The policy services that main.cf and master.cf name: whether each one answers its smtpd(8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.check.probe import ask, connect, is_running
from greylist.commands.check.report import Finding
from greylist.commands.check.smtpd import Doctor
from greylist.commands.postfix.restrictions import CALL, LISTS, called

if TYPE_CHECKING:
    from greylist.commands.check.host import Host
    from greylist.commands.check.report import Findings
    from greylist.commands.postfix.master import Service
    from greylist.commands.postfix.restrictions import View


class Asked(NamedTuple):
    """A policy service that a restriction names.

    Attributes:
        endpoint: the service, as main.cf or master.cf names it.
        root: the root directory of the smtpd that asks, empty unless that one runs chrooted.
    """

    endpoint: str
    root: str = ""


class Asking(NamedTuple):
    """The smtpd services that ask one policy service.

    Attributes:
        titles: their names, as postconf(1) has them.
        commands: the commands that take the policy service out of their lists.
    """

    titles: list[str]
    commands: list[str]


def examine(host: Host, views: list[tuple[Service | None, View]]) -> Findings:
    """Yield a finding for each policy service: whether it answers.

    Args:
        host: the services of this host.
        views: each smtpd of master.cf with its parameters; None stands for main.cf alone.
    """
    asked = _asked(host, views)
    ours = sorted(one for one in asked if host.is_ours(one.endpoint))
    for filter in host.filters:
        if not any(filter.service.is_at(one.endpoint) for one in ours):
            ours.append(Asked(filter.service.endpoint))
    for one in ours:
        yield _answer(host, one, asked.get(one))
    for one in sorted(asked.keys() - set(ours)):
        if host.is_in_master(one.endpoint) and not is_running(host.queue):
            continue  # one fault, and said of ours
        try:
            connect(one.endpoint, host.queue, one.root).close()
        except PermissionError:
            continue
        except (OSError, ValueError):
            yield _nobody(host, one, asked[one])


def _asked(host: Host, views: list[tuple[Service | None, View]]) -> dict[Asked, Asking]:
    """Return the policy services that restrictions name, each with the smtpds that ask it."""
    found: dict[Asked, Asking] = {}
    for line, view in views:
        own = {override.partition("=")[0] for override in line.overrides} if line else set()
        for name in (*LISTS, *view.classes):
            title = line.title if line and name in own else ""
            for step in view.steps(name):
                if step.name != CALL:
                    continue
                endpoint = called(step.argument)[0]
                is_inside = line and host.is_chrooted(line) and _has_path(endpoint)
                asking = found.setdefault(
                    Asked(endpoint, host.queue if is_inside else ""), Asking([], [])
                )
                _add(asking.titles, line.title if line else "")
                _add(asking.commands, Doctor(host, view, title).without(name, endpoint))
    return found


def _has_path(endpoint: str) -> bool:
    """Return whether an endpoint is a path from the root."""
    return endpoint.partition(":")[2].startswith("/")


def _add(texts: list[str], text: str) -> None:
    if text and text not in texts:
        texts.append(text)


def _nobody(host: Host, one: Asked, asking: Asking) -> Finding:
    """Return the finding that no process listens where another service than ours is asked."""
    if walled := _walled(host, one, asking):
        return walled
    text = f"nobody listens at {one.endpoint}, so Postfix defers all mail (451 4.3.5)"
    remedy = "Start that service. If it is gone for good:\n" + "\n".join(asking.commands)
    if host.is_in_master(one.endpoint):
        remedy = host.postfix.shell("postfix", "reload")
    return Finding("error", "main.cf", text, remedy)


def _walled(host: Host, one: Asked, asking: Asking) -> Finding | None:
    """Return the finding that a chrooted smtpd cannot reach a service outside its root, or None."""
    if not one.root:
        return None
    try:
        connect(one.endpoint, host.queue).close()
    except OSError:
        return None
    names = ", ".join(asking.titles)
    text = f"{names} runs chrooted in {one.root}, and does not find {one.endpoint} from there"
    remedy = "\n".join(
        host.postfix.shell("postconf", "-F", f"{title}/chroot=n") for title in asking.titles
    )
    return Finding("error", "master.cf", text, remedy)


def _answer(host: Host, one: Asked, asking: Asking | None) -> Finding:
    """Return the finding about what a greylist service answers to a harmless request."""
    endpoint = one.endpoint
    try:
        action, seconds = ask(endpoint, host.queue, one.root)
    except PermissionError:
        return Finding("ok", "service", f"{endpoint} not asked: only root and Postfix may")
    except TimeoutError:
        text = f"{endpoint} takes a request, and does not answer"
        return Finding("error", "service", text, "See the log for what it waits for.")
    except (OSError, ValueError) as error:
        walled = asking and _walled(host, one, asking)
        return walled or _silence(host, endpoint, error)
    if not action:
        text = f"{endpoint} hangs up without an answer: the filter cannot work"
        name = host.settings(endpoint).syslog_name
        remedy = f"See what it logs: journalctl -t {name} -n 5"
        return Finding("error", "service", text, remedy)
    text = f"{endpoint} answers {action!r:.40} in {1000 * seconds:.0f} ms"
    if action != "dunno":
        return Finding(
            "warning", "service", text, "That is not greylist's answer: who listens there?"
        )
    return Finding("ok", "service", text)


def _silence(host: Host, endpoint: str, error: Exception) -> Finding:
    """Return the finding that no process listens at an endpoint of ours, and why not."""
    text = f"nobody listens at {endpoint} ({getattr(error, 'strerror', None) or error})"
    if not host.is_in_master(endpoint):
        return Finding("error", "service", text, "Start greylist serve: systemctl start greylist")
    if not is_running(host.queue):
        text += ": Postfix does not run"
        # No mail comes either: as before the first start, there is no harm yet.
        return Finding("warning", "service", text, host.postfix.shell("postfix", "start"))
    text += ": Postfix has not read master.cf since it was changed"
    return Finding("error", "service", text, host.postfix.shell("postfix", "reload"))
