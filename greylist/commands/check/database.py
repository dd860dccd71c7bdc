"""The doctor on a database of this host's own: what its store finds, and each entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.check.census import Census
from greylist.commands.check.report import Finding
from greylist.commands.session import kept
from greylist.store import StoreError
from greylist.store.opening import inspection

if TYPE_CHECKING:
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings


def examine(settings: Settings, user: str) -> Findings:
    """Yield what is to say about the database, as the directory's owner sees it.

    Args:
        settings: name it.
        user: as whom the filter runs; it may own what has to be made.
    """
    database = kept(settings)
    with database.acting():
        try:
            database.exists()
        except StoreError as error:
            text, _, remedy = str(error).partition("; mend it: ")
            yield Finding("error", "directory", text, remedy or "Run this as root.")
            return
        look = inspection(settings.database, user, (output.size, output.local_time))
        for fact in look.before():
            yield Finding(*fact)
        if not look.readable:
            return
        try:
            census = Census(settings)
        except StoreError as error:
            yield Finding("error", "database", str(error), "See the mail log for what came before.")
            return
        yield from census.findings()
        for fact in look.after(census.number):
            yield Finding(*fact)
