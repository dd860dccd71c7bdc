"""Root as somebody else: for a while, or for good."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist.store.berkeley.permissions import group

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Have root act as a user, in that user's own group, and be root again afterwards.

    Whoever is not root stays what he is.
    """
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    groups, gid = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(group(uid))
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)
