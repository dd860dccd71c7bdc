"""A directory for a while, which goes even if the process that asked for it is killed."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist import child

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def directory(prefix: str) -> Iterator[str]:
    """Yield a directory of our own in TMPDIR, and delete it with all that is in it.

    A child makes it and deletes it, in a session of its own: at the end, or when the pipe between
    the two is closed because this process has died.

    Raises:
        OSError: it cannot be made, or root would make it where another user can put his own.
    """
    place = os.path.realpath(tempfile.gettempdir())
    reached = _in_reach(place) if os.getuid() == 0 and os.path.isdir(place) else ""
    if reached:
        raise OSError(
            f"{reached} is in reach of other users, who could put files of theirs in the place of "
            f"root's; name a directory of root's: TMPDIR=/var/tmp"
        )
    ours, theirs = os.pipe(), os.pipe()
    keeper = child.start(lambda: _keep(place, prefix, ours[0], theirs[1]))
    os.close(ours[0])
    os.close(theirs[1])
    try:
        with open(theirs[0], "rb") as pipe:
            path = os.fsdecode(pipe.read())
        if not path:
            raise OSError(f"no directory can be made in {place}")
        yield path
    finally:
        os.close(ours[1])
        os.waitpid(keeper, 0)


def _in_reach(place: str) -> str:
    """Return a directory on the way to a place whose entries another user can rename, if any."""
    # In a user namespace the system's own directories are nobody's.
    trusted = {0, os.geteuid(), os.stat("/").st_uid}
    while True:
        status = os.stat(place)
        shared = status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX
        if shared or status.st_uid not in trusted:
            return place
        if place == "/":
            return ""
        place = os.path.dirname(place)


def _keep(place: str, prefix: str, reader: int, writer: int) -> int:
    """Make the directory, tell its name, and delete it when nobody can write to the pipe."""
    for name in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)  # sent to all of a service, and the other obeys
    path = tempfile.mkdtemp(prefix=prefix, dir=place)
    os.write(writer, os.fsencode(path))
    # Whatever else is open, such as the database's lock or a pipe to head(1), is not ours to hold.
    null = os.open(os.devnull, os.O_RDWR)
    kept = os.dup2(reader, 3 + max(null, reader))
    for number in range(3):
        os.dup2(null, number)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))
    os.read(kept, 1)
    shutil.rmtree(path)
    return 0
