"""``greylist check``: the doctor."""

from __future__ import annotations

import subprocess
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.check import settings as settings_check
from greylist.commands.check.account import named, owner
from greylist.commands.check.database import examine as examine_database
from greylist.commands.check.postfix import examine as examine_postfix
from greylist.commands.check.postfix import find, misowned
from greylist.commands.check.shared import examine as examine_shared
from greylist.commands.check.spawned import called, compare
from greylist.commands.check.whitelist import examine as examine_whitelist
from greylist.commands.invocation import Invocation
from greylist.settings import Settings
from greylist.store.opening import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.commands.check.postconf import Postfix, Service
    from greylist.commands.check.report import Finding, Findings


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
    """Yield all findings."""
    postfix = find(directory)
    services = list(_spawning(postfix))
    settings = Settings()
    spawned, account = Invocation("", {}), None
    if postfix and services:
        service = services[-1]
        try:
            spawned = called(service, postfix.value("export_environment"))
            account = named(service.user)
        except (click.UsageError, KeyError):
            pass  # what is wrong with master.cf is said below
    given = Invocation(asked.config or spawned.config, {**spawned.options, **asked.options})
    yield from settings_check.read(given, settings, account.acting() if account else nullcontext())
    yield from settings_check.apply(given, settings)
    yield from settings_check.meaning(settings)
    if services:
        yield from compare(services[-1].name, asked, spawned)
    account = account or owner(settings)
    yield from examine_whitelist(settings, account)
    if is_url(settings.database):
        yield from examine_shared(settings, account)
    else:
        user = services[-1].user.partition(":")[0] if services else ""
        # Otherwise it is another's directory, which master.cf's finding mends: one remedy a fault.
        if not services or not misowned(user, settings):
            yield from examine_database(settings, user or "greylist")
    yield from examine_postfix(settings, directory)


def _spawning(postfix: Postfix | None) -> Iterator[Service]:
    try:
        services = postfix.services() if postfix else []
        if postfix:
            postfix.load(services)
    except (OSError, subprocess.TimeoutExpired):
        return  # as examine_postfix says
    yield from services


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
