"""The lists that the settings name, and how the lines of each are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.session import kept
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
