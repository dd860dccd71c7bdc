"""``greylist check``: the doctor."""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from itertools import chain
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.check import settings as settings_check
from greylist.commands.check.account import owner
from greylist.commands.check.database import examine as examine_database
from greylist.commands.check.postfix import examine as examine_postfix
from greylist.commands.check.postfix import find, misowned
from greylist.commands.check.spawned import compare, filters, to_look_at
from greylist.commands.check.whitelist import examine as examine_whitelist
from greylist.settings import Settings
from greylist.store.opening import is_url

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from greylist.commands.check.account import Account
    from greylist.commands.check.report import Finding, Findings
    from greylist.commands.check.spawned import Filter
    from greylist.commands.invocation import Invocation
    from greylist.commands.postfix.postconf import Postfix


@click.command("check", short_help="Look for what is wrong, and say what mends it.")
@click.option(
    "--postfix",
    metavar="DIR",
    help="Where main.cf and master.cf are. [default: where postconf looks]",
)
@output.json_option
@click.pass_obj
def command(obj: Invocation, /, postfix: str | None, as_json: bool) -> None:
    """Look at the settings, the whitelist, the database and Postfix's configuration.

    Each finding comes with what mends it. Nothing is changed. Exit status: 0, or 1 if there is
    an error; warnings alone are no error.

    \b
    Example:
      greylist check
    """
    findings = list(examine(obj, postfix))
    if as_json:
        output.print_json({"findings": [finding._asdict() for finding in findings]})
    else:
        show(findings)
    raise click.exceptions.Exit(any(finding.level == "error" for finding in findings))


def examine(asked: Invocation, directory: str | None) -> Findings:
    """Yield all findings, each once: several filters may share a file."""
    asked = asked._replace(config=asked.config or os.environ.get("GREYLIST_CONFIG", ""))
    postfix = find(directory)
    found = _filters(postfix)
    settings = found[0].settings if found else Settings()
    seen = set()
    parts = (
        _each(asked, settings, found),
        examine_postfix(postfix, found, settings),
        # Last: its commands make the changes of master.cf, too, that were found before.
        compare(found, asked, postfix) if postfix else (),
    )
    for finding in chain.from_iterable(parts):
        if finding not in seen:
            seen.add(finding)
            yield finding


def _filters(postfix: Postfix | None) -> list[Filter]:
    """Return the filters that master.cf starts."""
    if postfix is None:
        return []
    try:
        services = postfix.services()
        postfix.load(services)
    except (OSError, subprocess.TimeoutExpired):
        return []  # as examine_postfix says
    return filters(postfix, services)


def _each(asked: Invocation, settings: Settings, found: list[Filter]) -> Findings:
    """Yield the findings about each filter's settings, lists and database.

    Args:
        asked: how this command was called.
        settings: to be read if there is no filter.
        found: the filters.
    """
    if not found:
        yield from _settings(asked, settings, nullcontext())
        yield from _files(settings, owner(settings), "")
        return
    for one in found:
        acting = one.account.acting() if one.account else nullcontext()
        given = to_look_at(one, found, asked)
        title = one.name if len(found) > 1 else ""
        yield from _settings(given, one.settings, acting, title)
    for one in found:
        yield from _files(one.settings, one.account or owner(one.settings), one.service.user)


def _settings(
    given: Invocation, settings: Settings, acting: AbstractContextManager[None], title: str = ""
) -> Findings:
    """Read settings; yield the findings about them, each with the title of its filter."""
    yield from settings_check.read(given, settings, acting)
    for finding in (*settings_check.apply(given, settings), *settings_check.meaning(settings)):
        yield finding._replace(text=f"{title}: {finding.text}") if title else finding


def _files(settings: Settings, account: Account, user: str) -> Findings:
    """Yield the findings about the lists and the database that settings name."""
    yield from examine_whitelist(settings, account)
    user = user.partition(":")[0]
    # Otherwise it is another's directory, which master.cf's finding mends: one remedy a fault.
    if is_url(settings.database) or not misowned(user, settings):
        yield from examine_database(settings, user or "greylist", account)


def show(findings: list[Finding]) -> None:
    """Print the findings for people."""
    width = max(len(finding.subject) for finding in findings)
    for level, subject, text, remedy in findings:
        padding = " " * (len("warning") - len(level))
        click.echo(f"{output.coloured(level)}{padding}  {subject.ljust(width)}  {text}")
        for line in remedy.splitlines():
            click.echo(" " * (width + 11) + click.style(line, dim=True))
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    click.echo(f"\n{_count(errors, 'error')}, {_count(warnings, 'warning')}.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
