"""The doctor on the database: what its store finds, and each entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.check.census import Census
from greylist.commands.check.report import Finding
from greylist.commands.session import kept
from greylist.store import StoreError
from greylist.store.opening import inspection

if TYPE_CHECKING:
    from greylist.commands.check.account import Account
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings


def examine(settings: Settings, user: str, account: Account) -> Findings:
    """Yield the findings about the database as the filter's user sees it; nothing is changed.

    Args:
        settings: name the database.
        user: the name of the filter's user, for remedies: what is missing has to be that user's.
        account: the same user, as whom the files with passwords are read.
    """
    look = inspection(settings, user, account.acting, (output.size, output.local_time))
    with kept(settings).acting():
        for fact in look.before():
            yield Finding(*fact)
        if not look.readable:
            return
        try:
            census = Census(settings)
        except StoreError as error:
            yield Finding(*look.unread(error))
            return
        yield from census.findings()
        for fact in look.after(census.number):
            yield Finding(*fact)
