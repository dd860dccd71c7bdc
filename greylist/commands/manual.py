"""The manual pages, made of the texts that ``--help`` shows and of the settings' table.

``python -m greylist.commands.manual DIRECTORY`` writes both there. The language is man(7).
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from greylist import __version__, settings
from greylist.cli import COMMANDS, cli
from greylist.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGES = ("greylist.1", "greylist.cf.5")


def page(name: str) -> str:
    """Return a manual page by the name of its file."""
    lines = _greylist_1() if name == "greylist.1" else _greylist_cf_5()
    return "\n".join(lines) + "\n"


def _greylist_1() -> Iterator[str]:
    yield from _title("greylist", 1, "greylisting for Postfix: filter and commands")
    yield ".SH SYNOPSIS"
    yield ".B greylist\n.RI [ options ]\n.br\n.B greylist\n.RI [ options ]\n.I command\n[...]"
    yield ".SH DESCRIPTION"
    yield from _prose(cli.help or "")
    yield ".SH OPTIONS"
    named = {setting.name for setting in SETTINGS}
    own = [param for param in cli.params if param.name not in named]
    yield from _options(own)
    yield ".PP"
    yield "Each setting of\n.BR greylist.cf (5)\nis an option as well:"
    yield from (_option_names(param) for param in cli.params if param.name in named)
    yield ".SH COMMANDS"
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        if command:
            yield from _command(command)
    yield ".SH ENVIRONMENT"
    yield ".TP\n.B GREYLIST_CONFIG\nThe settings' file, where no option names one."
    yield ".SH FILES"
    for setting in SETTINGS:
        if setting.default.startswith("/"):
            yield f".TP\n.I {_escape(setting.default)}\n{_escape(setting.help)}"
    yield f".TP\n.I {_escape(settings.DEFAULT_PATH)}\nThe settings."
    yield ".SH SEE ALSO"
    yield ".BR greylist.cf (5),\n.BR postconf (5),\n.BR spawn (8),\n.BR access (5)"


def _greylist_cf_5() -> Iterator[str]:
    yield from _title("greylist.cf", 5, "settings of greylist")
    yield ".SH SYNOPSIS"
    yield f".I {_escape(settings.DEFAULT_PATH)}"
    yield ".SH DESCRIPTION"
    _, _, text = (settings.__doc__ or "").partition("\n\n")
    yield from _prose(text.replace("``", ""))
    yield ".SH SETTINGS"
    for setting in SETTINGS:
        default = _escape(setting.default) or "empty"
        yield f'.TP\n.BR {_escape(setting.name)} " (default: {default})"'
        yield _escape(setting.help)
    yield ".SH SEE ALSO"
    yield ".BR greylist (1),\n.BR postconf (5)"


def _title(name: str, section: int, words: str) -> Iterator[str]:
    yield f'.TH {name.upper()} {section} "" "greylist {__version__}"'
    yield f".SH NAME\n{name} \\- {words}"


def _command(command: click.Command) -> Iterator[str]:
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    usage = " ".join(
        f"\\fI{_escape(str(p.metavar or p.name).upper())}\\fR" + ("..." if p.nargs == -1 else "")
        for p in arguments
    )
    yield f'.SS "greylist {command.name}" [options] {usage}'.rstrip()
    yield from _prose(command.help or "")
    yield from _options([p for p in command.params if isinstance(p, click.Option)])


def _options(params: list[click.Parameter] | list[click.Option]) -> Iterator[str]:
    for param in params:
        help = str(getattr(param, "help", "") or "")
        if getattr(param, "show_default", False):
            help += f" [default: {param.default}]"
        yield f".TP\n{_option_names(param).removeprefix('.br' + chr(10))}\n{_escape(help)}"


def _option_names(param: click.Parameter) -> str:
    names = [*param.opts, *param.secondary_opts]
    value = ""
    if not getattr(param, "is_flag", False) and not getattr(param, "count", False):
        choices = getattr(param.type, "choices", None)
        value = "|".join(choices) if choices else (param.metavar or "TEXT")
    shown = ", ".join(f"\\fB{_escape(name)}\\fR" for name in names)
    return f".br\n{shown} \\fI{_escape(value)}\\fR" if value else f".br\n{shown}"


def _prose(text: str) -> Iterator[str]:
    """Yield a help text's paragraphs; one that starts with ``\\b`` keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", text.strip("\n")):
        lines = paragraph.split("\n")
        if lines[0].strip(" ") == "\b":
            yield ".PP\n.nf"
            yield from map(_escape, textwrap.dedent("\n".join(lines[1:])).rstrip().split("\n"))
            yield ".fi"
        elif paragraph.strip():
            yield ".PP"
            yield from (_escape(line.strip()) for line in lines if line.strip())


def _escape(text: str) -> str:
    r"""Return a line that man(7) shows as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def main() -> None:
    """Write the pages into the directory that is named."""
    for name in PAGES:
        with open(os.path.join(sys.argv[1], name), "w", encoding="utf-8") as file:
            file.write(page(name))


if __name__ == "__main__":
    main()
