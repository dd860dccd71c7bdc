"""Write greylist/public_suffixes.txt anew, from the list that PyPI's publicsuffixlist ships.

Run it as ``make suffixes``, after a newer version of the package was named in pyproject.toml.
"""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import groupby

import idna

from greylist.public_suffix import PATH

_HEAD = """\
# The public suffix list of {date}, as rules with their labels from right to left.
# Made from public_suffix_list.dat (https://publicsuffix.org), which is subject to the terms of the
# Mozilla Public License, v. 2.0 (https://mozilla.org/MPL/2.0/); so is this file.
"""


def source() -> str:
    """Return the list as it is published."""
    return (files("publicsuffixlist") / "public_suffix_list.dat").read_text("utf-8")


def compact(text: str) -> str:
    """Return the file for a published list."""
    version = re.search(r"^// VERSION: (\d{4}-\d\d-\d\d)", text, re.MULTILINE)
    assert version, "the list has no date"
    rules = set()
    for line in text.splitlines():
        rule = line.split(maxsplit=1)[0] if line.strip() else ""
        if rule and not rule.startswith("//"):
            rules.add(_reversed(rule))
    lines = sorted(rule for rule in rules if " " in rule)
    index, start = " ", 0
    for top, rules in groupby(lines, lambda rule: rule.split(" ")[0]):
        end = start + sum(len(rule) + 1 for rule in rules)
        index += f"{top}:{start}:{end} "
        start = end
    return "\n".join([_HEAD.format(date=version[1]), index, *lines, ""])


def _reversed(rule: str) -> str:
    """Return a rule's labels from right to left, each in the form of DNS."""
    labels = [
        label if label == "*" else idna.encode(label, uts46=True).decode()
        for label in rule.removeprefix("!").split(".")
    ]
    if rule.startswith("!"):
        labels[0] = "!" + labels[0]
    return " ".join(labels[::-1])


if __name__ == "__main__":
    with open(PATH, "w", encoding="ascii") as file:
        file.write(compact(source()))
