"""The user that the filter runs as, and as whom ``check`` reads the filter's files."""

from __future__ import annotations

import grp
import os
import pwd
from typing import TYPE_CHECKING, NamedTuple

from greylist.privileges import acting_as

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from greylist.settings import Settings


class Account(NamedTuple):
    """A user and a group; None: the user's own."""

    uid: int
    gid: int | None = None

    def acting(self) -> AbstractContextManager[None]:
        """Have root act as that user for a while; any other user stays who he is."""
        return acting_as(self.uid, self.gid)


def named(user: str) -> Account:
    """Return the account that master.cf names as ``user`` or ``user:group``.

    Raises:
        KeyError: there is no such user or group.
    """
    name, _, group = user.partition(":")
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid)


def owner(settings: Settings) -> Account:
    """Return the owner of the database's directory: a filter of root's becomes that user."""
    try:
        return Account(os.stat(os.path.dirname(settings.database)).st_uid)
    except OSError:
        return Account(os.geteuid())
