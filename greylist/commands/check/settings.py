"""The doctor on the settings: their file, read as the filter reads it, and what they mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist import settings as settings_module
from greylist.commands.check.reading import open_up
from greylist.commands.check.report import Finding
from greylist.settings import SettingsError
from greylist.system import quoted
from greylist.watched_file import File

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from greylist.commands.check.report import Findings
    from greylist.commands.invocation import Invocation
    from greylist.settings import Settings

_OFFENCES = ("access denied", "service unavailable", "blocked", "rejected", "spam", "banned")
"""Words by which intrusion filters (fail2ban's postfix filter and the like) know an offender."""

_MODES = {
    "off": "mode = off: nobody is greylisted, and nothing is learnt",
    "learn": "mode = learn: what would be deferred is logged, and let through",
}


def read(given: Invocation, settings: Settings, acting: AbstractContextManager[None]) -> Findings:
    """Read the settings' file, line by line; one that is wrong keeps its default."""
    name = given.config or settings_module.DEFAULT_PATH
    settings.file = File(name)
    lines: list[tuple[int, str, str]] = []
    try:
        with acting:
            settings.read(lambda *line: lines.append(line))
    except FileNotFoundError:
        if given.config:
            yield Finding("error", "settings", f"{name} does not exist", f"touch {quoted(name)}")
        else:
            yield Finding("ok", "settings", f"no {name}: the defaults hold")
    except OSError as error:
        text = f"{name}: {error.strerror}: the filter, which cannot read it, ends at once"
        yield Finding("error", "settings", text, open_up(name, error))
    else:
        yield from _lines(name, lines)


def _lines(name: str, lines: list[tuple[int, str, str]]) -> Findings:
    seen: dict[str, int] = {}
    for number, key, wrong in lines:
        if key in seen:
            text = f"{name}:{number}: {key} was set in line {seen[key]} already; this line wins"
            yield Finding("warning", "settings", text, "Delete one of the lines.")
        seen[key] = number
        if wrong:
            remedy = "Until then the filter refuses to start, and Postfix takes its default action."
            yield Finding("error", "settings", f"{name}:{number}: {wrong}", remedy)
    if not any(wrong for _, _, wrong in lines):
        count = f"{len(lines)} setting{'' if len(lines) == 1 else 's'}"
        yield Finding("ok", "settings", f"{name}: {count}")


def apply(given: Invocation, settings: Settings) -> Findings:
    """Apply the options of a command line; yield a finding for each that is wrong."""
    for name, value in given.options.items():
        try:
            settings.set(name, value)
        except SettingsError as error:
            yield Finding("error", "settings", str(error), "Change that.")
    try:
        settings.check()
    except SettingsError as error:
        yield Finding("error", "settings", str(error), "Change that.")


def meaning(settings: Settings) -> Findings:
    """Yield warnings of valid settings that have an unexpected effect."""
    where = settings.path or (settings.file.path if settings.file else settings_module.DEFAULT_PATH)
    if settings.mode in _MODES:
        remedy = f"Write mode = greylist into {where}, when that is over."
        yield Finding("warning", "settings", _MODES[settings.mode], remedy)
    offence = next((words for words in _OFFENCES if words in settings.reply.lower()), "")
    if offence:
        text = f"reply has {offence!r}: intrusion filters such as fail2ban may ban who reads that"
        remedy = f"Write into {where}, for example:\nreply = Greylisted, please try again later"
        yield Finding("warning", "settings", text, remedy)
