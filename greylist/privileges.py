"""Root as somebody else: for a while, or for good."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def acting_as(uid: int, gid: int | None = None) -> Iterator[None]:
    """Have root act as a user, and be root again afterwards.

    The group is the user's own if none is given; there are no others, as under spawn(8).

    Any other user stays who he is.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    groups, before = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(group(uid) if gid is None else gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(before)
        os.setgroups(groups)


def become(uid: int) -> None:
    """Have root be a user for good, in that user's own group and no other."""
    os.setgroups([])
    os.setgid(group(uid))
    os.setuid(uid)


def group(uid: int) -> int:
    """Return a user's own group: a directory's may be one that may do less."""
    try:
        return pwd.getpwuid(uid).pw_gid
    except KeyError:
        return uid


def user(uid: int | None = None) -> str:
    """Return the name of a user, or of the one that this process acts as, or else its number."""
    uid = os.geteuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
