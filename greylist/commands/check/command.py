"""``greylist check``: the doctor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from greylist import settings as settings_module
from greylist.commands import output
from greylist.commands.check.database import examine as examine_database
from greylist.commands.check.postfix import examine as examine_postfix
from greylist.commands.check.report import Finding
from greylist.commands.check.shared import examine as examine_shared
from greylist.commands.check.whitelist import examine as examine_whitelist
from greylist.settings import Settings, SettingsError, logical_lines
from greylist.store import is_url

if TYPE_CHECKING:
    from greylist.commands.check.report import Findings


@click.command("check", short_help="Look for what is wrong, and say what mends it.")
@click.option(
    "--postfix",
    metavar="DIR",
    help="Where main.cf and master.cf are. [default: where postconf looks]",
)
@output.json_option
@click.pass_obj
def command(obj: tuple[str | None, dict[str, Any]], /, postfix: str | None, as_json: bool) -> None:
    """Look at the settings, the whitelist, the database and Postfix's configuration.

    Each finding comes with what mends it. Nothing is changed. Exit status: 0, or 1 if there is
    an error; warnings alone are no error.

    \b
    Example:
      greylist check
    """
    findings = list(examine(*obj, postfix))
    if as_json:
        output.print_json({"findings": [finding._asdict() for finding in findings]})
    else:
        show(findings)
    raise click.exceptions.Exit(any(finding.level == "error" for finding in findings))


def examine(config: str | None, options: dict[str, Any], postfix: str | None) -> Findings:
    """Yield all that there is to find."""
    settings = Settings()
    yield from _file(config, settings)
    try:
        for name, value in options.items():
            if isinstance(value, str):
                settings.set(name, value)
        settings.check()
    except SettingsError as error:
        yield Finding("error", "settings", str(error), "Change that.")
    yield from examine_whitelist(settings)
    shared = is_url(settings.database)
    yield from (examine_shared if shared else examine_database)(settings)
    yield from examine_postfix(settings, postfix)


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


def _file(config: str | None, settings: Settings) -> Findings:
    """Read the settings, line by line; one that is wrong keeps its default."""
    given = config or os.environ.get("GREYLIST_CONFIG")
    name = given or settings_module.DEFAULT_PATH
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            lines = logical_lines(file)
    except FileNotFoundError:
        if given:
            yield Finding("error", "settings", f"{name} does not exist", f"touch {name}")
        else:
            yield Finding("ok", "settings", f"no {name}: the defaults hold")
        return
    except OSError as error:
        yield Finding("error", "settings", f"{name}: {error.strerror}", f"chmod a+r {name}")
        return
    settings.path = name
    yield from _lines(name, lines, settings)


def _lines(name: str, lines: list[tuple[int, str]], settings: Settings) -> Findings:
    seen: dict[str, int] = {}
    wrong = 0
    for number, line in lines:
        key, equals, value = (part.strip() for part in line.partition("="))
        place = f"{name}:{number}"
        if equals and key in seen:
            text = f"{place}: {key} was set in line {seen[key]} already; this line wins"
            yield Finding("warning", "settings", text, "Delete one of the lines.")
        seen[key] = number
        try:
            if not equals or not key:
                raise SettingsError(f"{line.strip()!r:.100} is not of the form 'name = value'")
            settings.set(key, value)
        except SettingsError as error:
            wrong += 1
            remedy = "Until then the filter refuses to start, and Postfix takes its default action."
            yield Finding("error", "settings", f"{place}: {error}", remedy)
    if not wrong:
        yield Finding("ok", "settings", f"{name}: {_count(len(lines), 'setting')}")
