"""The options of postgrey and sqlgrey as lines of greylist.cf."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.commands.importers import postgrey_command, postgrey_options, sqlgrey_conf
from greylist.commands.importers.rows import ForeignError
from greylist.settings import Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SQLGREY = re.compile(rf"^\s*(?:{'|'.join(sqlgrey_conf.OPTIONS)})\s*=", re.MULTILINE)


def lines(path: str) -> Iterator[str]:
    """Yield the lines for the options in a file, those without a counterpart in comments.

    Raises:
        ForeignError: the file holds no options that are known here.
        OSError: it cannot be read.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    if "\0" in text:
        raise ForeignError(
            f"{path}: no text; a database is taken over with: greylist import {path}"
        )
    found = list(postgrey_options.settings(text))
    service = "postgrey"
    if not found and (_SQLGREY.search(text) or "SQLgrey" in text):
        service, found = "sqlgrey", list(sqlgrey_conf.settings(text))
    elif not found and not postgrey_command.is_about(text):
        raise ForeignError(
            f"{path}: no options of postgrey or sqlgrey in it; import --settings reads "
            "/etc/default/postgrey, /etc/sysconfig/postgrey, a unit or script that starts "
            "postgrey, and sqlgrey.conf"
        )
    yield f"# For greylist.cf: what {path} says of {service}."
    yield from _checked(found)


def _checked(found: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Yield a line for each setting that can have its value; the last one of a name holds."""
    chosen: dict[str, str] = {}
    notes: list[str] = []
    for name, value, comment in found:
        if not name:
            notes.append(comment)
            continue
        try:
            Settings().set(name, value)
        except SettingsError as error:
            notes.append(f"{comment}: {error}")
            continue
        chosen[name] = value
    for name, value in chosen.items():
        yield f"{name} = {value}"
    yield from (f"# {note}" for note in dict.fromkeys(notes))
