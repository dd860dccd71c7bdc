"""Root as somebody else: for a while, or for good."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist.store.berkeley.permissions import group

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
