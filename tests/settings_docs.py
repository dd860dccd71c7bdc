"""What is written of the settings: made from their table, and from the command line's options.

Run it to write the tables in README.md and docs/, and greylist.cf.example, anew.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from greylist.cli import cli
from greylist.settings import DEFAULT_PATH, SETTINGS

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parent.parent
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EXAMPLE = ROOT / "greylist.cf.example"

TABLE = re.compile(
    r"(<!-- settings(?:: (?P<names>[\w ,]+))? -->\n).*?(?=<!-- end of settings -->)", re.DOTALL
)
"""Where a page holds a table: of the named settings, or of all."""

OPTIONS = re.compile(
    r"(<!-- options: (?P<name>\w+) -->\n).*?(?=<!-- end of options -->)", re.DOTALL
)
"""Where a page holds the table of a command's options."""

_HEAD = f"""\
# The settings of greylist: {DEFAULT_PATH}.
#
# The form is that of main.cf. Times are 300, 300s, 5m, 12h, 2d or 1w. What stands here are the
# defaults; take away the # and change what you need.
"""


def table(names: str | None) -> str:
    """Return settings as a Markdown table: the named ones, or all, with their options."""
    wanted = names.split(", ") if names else [setting.name for setting in SETTINGS]
    by_name = {setting.name: setting for setting in SETTINGS}
    columns = ["setting", "default", *([] if names else ["option"]), "meaning"]
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    for name in wanted:
        setting = by_name[name]
        cells = [f"`{name}`", f"`{setting.default}`" if setting.default else ""]
        if not names:
            cells.append(_options(name))
        cells.append(setting.help.replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _options(name: str) -> str:
    option = next(parameter for parameter in cli.params if parameter.name == name)
    return ", ".join(f"`{text}`" for text in (*option.opts, *option.secondary_opts))


def option_table(name: str) -> str:
    """Return the options of a command as a Markdown table."""
    lines = [f"| option of `{name}` | meaning |", "| --- | --- |"]
    for option in cli.get_command(None, name).params:
        if option.param_type_name == "option":
            value = "" if option.is_flag else f" {option.metavar or _choices(option)}"
            names = ", ".join(f"`{text}{value}`" for text in (*option.opts, *option.secondary_opts))
            lines.append(f"| {names} | {_meaning(option)} |")
    return "\n".join(lines) + "\n"


def _choices(option: click.Option) -> str:
    return "\\|".join(getattr(option.type, "choices", ["TEXT"]))


def _meaning(option: click.Option) -> str:
    default = f" [default: {option.default}]" if option.show_default else ""
    return ((option.help or "") + default).replace("|", "\\|")


def page(text: str) -> str:
    """Return a page with its tables made anew."""
    text = TABLE.sub(lambda match: match[1] + table(match["names"]), text)
    return OPTIONS.sub(lambda match: match[1] + option_table(match["name"]), text)


def example() -> str:
    """Return an example file of settings: all of them, as comments."""
    entries = [
        textwrap.fill(setting.help, 98, initial_indent="# ", subsequent_indent="# ")
        + f"\n#{setting.name} = {setting.default}".rstrip()
        + "\n"
        for setting in SETTINGS
    ]
    return "\n".join([_HEAD, *entries])


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text()))
    EXAMPLE.write_text(example())
