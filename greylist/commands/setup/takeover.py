"""Taking over from postgrey or sqlgrey, which goes on answering until nobody asks it any more."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.import_ import take_over
from greylist.commands.importers import options
from greylist.commands.importers.rows import ForeignError
from greylist.commands.setup.steps import Refusal

if TYPE_CHECKING:
    from greylist.commands.setup.steps import Steps
    from greylist.settings import Settings


class Service(NamedTuple):
    """Where a service has its options and its database, the first of each that exists counting."""

    name: str
    options: tuple[str, ...]
    databases: tuple[str, ...]


SERVICES = {
    "postgrey": Service(
        "postgrey",
        ("/etc/default/postgrey", "/etc/sysconfig/postgrey"),
        ("/var/lib/postgrey", "/var/spool/postfix/postgrey"),
    ),
    "sqlgrey": Service("sqlgrey", ("/etc/sqlgrey/sqlgrey.conf",), ("/var/lib/sqlgrey",)),
}


def settings_lines(service: Service, path: str | None) -> list[str]:
    """Return lines of greylist.cf for the service's options."""
    path = path or next(filter(os.path.exists, service.options), None)
    if not path:
        return []
    try:
        return list(options.lines(path))
    except ForeignError as error:
        raise Refusal(str(error)) from error


def listening(lines: list[str]) -> list[str]:
    """Return how endpoints end at which the service listens by its options."""
    told = re.findall(r"(?m)^# (?:--)?(inet|unix) ?= ?(\S+): ", "\n".join(lines))
    return [
        f":{place.rpartition(':')[2]}" if kind == "inet" else f"unix:{place}"
        for kind, place in told
    ]


def database(service: Service, lines: list[str]) -> str:
    """Return where the service's database is: where its options say, or in a usual place.

    Raises:
        Refusal: it is in none of them.
    """
    told: list[str] = re.findall(r"(?m)^#.*greylist import (/\S+)$", "\n".join(lines))
    places = (*told, *service.databases)
    found = next(filter(os.path.exists, places), None)
    if not found:
        raise Refusal(
            f"no database of {service.name} in {' or '.join(places)}: name it, or a dump of its "
            "tables, with --from-database"
        )
    return found


def import_entries(steps: Steps, settings: Settings, path: str, when: str) -> None:
    """Merge the service's entries into our database; it is only read."""

    def run() -> None:
        try:
            take_over(settings, path, dry_run=False, as_json=False)
        except ForeignError as error:
            # An empty database is no reason to keep the old service.
            steps.say(str(error))

    steps.change(f"greylist import {path} ({when})", run)
