"""How many connections a process has file descriptors for."""

from __future__ import annotations

import resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SPARE = 64
"""Descriptors for all but connections: the database, lists, sockets, the log. libdb, when it has
none left, sleeps for 12 s."""

LEFT_BEHIND = 512
"""Descriptors that the recoveries of a database may cost a process in its life, five each. They are
taken where they can be had; where not, there is no connection less."""


def room(wanted: int, warn: Callable[[str], object]) -> int:
    """Return how many connections can be taken; the limit on open files is raised as far as needed.

    Args:
        wanted: how many there may be (max_connections).
        warn: is told when there cannot be as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + SPARE
    if soft == resource.RLIM_INFINITY:
        return wanted
    if soft < needed + LEFT_BEHIND:
        better = needed + LEFT_BEHIND
        soft = better if hard == resource.RLIM_INFINITY else min(better, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    most = max(1, soft - SPARE)
    if soft < needed:
        warn(
            f"max_connections = {wanted}, but only {soft} files may be open: {most} connections "
            f"at once; mend it: LimitNOFILE={needed} in the unit, or ulimit -n {needed}"
        )
    return min(wanted, most)
