"""What is written of the settings: made from their table, and from the command line's options.

Run it to write README.md's table and greylist.cf.example anew.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from greylist.cli import cli
from greylist.settings import DEFAULT_PATH, SETTINGS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
EXAMPLE = ROOT / "greylist.cf.example"

TABLE = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- end of settings -->)", re.DOTALL)
"""Where README.md holds the table."""

_HEAD = f"""\
# The settings of greylist: {DEFAULT_PATH}.
#
# The form is that of main.cf. Times are 300, 300s, 5m, 12h, 2d or 1w. What stands here are the
# defaults; take away the # and change what you need.
"""


def table() -> str:
    """Return the settings as a Markdown table."""
    options = {parameter.name: parameter for parameter in cli.params}
    lines = ["| setting | default | option | meaning |", "| --- | --- | --- | --- |"]
    for setting in SETTINGS:
        option = options[setting.name]
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        meaning = setting.help.replace("|", "\\|")
        lines.append(f"| `{setting.name}` | `{setting.default}` | {names} | {meaning} |")
    return "\n".join(lines) + "\n"


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
    README.write_text(TABLE.sub(lambda _: table(), README.read_text()))
    EXAMPLE.write_text(example())
