"""The lists that the settings name, and how the lines of each are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from greylist.commands.session import kept
from greylist.log import Log
from greylist.watched_file import File
from greylist.whitelist.lines import rule
from greylist.whitelist.postgrey import client_rule, recipient_rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.settings import Settings
    from greylist.whitelist.lines import Form

_FORMS: tuple[tuple[str, Form], ...] = (
    ("never_trust", rule),
    ("own_clients", rule),
    ("whitelist_clients", client_rule),
    ("whitelist_recipients", recipient_rule),
    ("greylist_recipients", recipient_rule),
)
"""The settings that name several files."""


class Complaints(Log):
    """What a filter would log about the lists, gathered: a person hears of it in one line."""

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, None] = {}

    def warning(self, text: str) -> None:
        """Keep a complaint, once."""
        self._texts[text] = None

    def tell(self) -> None:
        """Say on standard error how many there are, and the first one."""
        first = next(iter(self._texts), "")
        if len(self._texts) > 1:
            first = f"the lists have {len(self._texts)} lines that are left out, or do not do what"
            first += f" they seem to; the first one is {next(iter(self._texts))}"
        if first:
            click.echo(f"Warning: {first} (greylist check looks at each line)", err=True)


def lists(settings: Settings) -> Iterator[tuple[str, str, Form]]:
    """Yield the name of the setting, the path of a list and the form of its lines."""
    yield "whitelist", settings.whitelist, rule
    for name, form in _FORMS:
        for path in getattr(settings, name):
            yield name, path, form


def read(settings: Settings, path: str) -> bytes:
    """Return what is in a list, read as the filter reads it, and as its user.

    Raises:
        OSError: it cannot be read.
    """
    with kept(settings).acting():
        return File(path).read()
