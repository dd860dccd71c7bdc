"""Remedies for a file that the filter's user cannot read."""

from __future__ import annotations

import errno
import os
import shlex
import stat

from greylist.system import is_system


def open_up(path: str, error: OSError) -> str:
    """Return the commands that make a file readable for the filter's user, or a sentence.

    A directory above it that others may not enter is opened for passing through alone, and no
    directory of the system at all.
    """
    if error.errno != errno.EACCES:
        return f"Put a regular file there: {path}"
    closed = [name for name in _above(path) if not _enters(name)]
    for name in closed:
        if is_system(os.stat(name)):
            return f"Move it to a directory that the filter's user may enter: {name} is not one."
    steps = [f"chmod a+x {shlex.quote(name)}" for name in closed]
    try:
        readable = os.stat(path).st_mode & stat.S_IROTH
    except OSError:
        readable = False
    return "\n".join(steps if readable else [*steps, f"chmod a+r {shlex.quote(path)}"])


def _above(path: str) -> list[str]:
    """Return the directories above a file, the root's first."""
    found = []
    while path != os.path.dirname(path):
        path = os.path.dirname(path)
        found.append(path)
    return found[::-1]


def _enters(directory: str) -> bool:
    """Return whether every user may pass through a directory."""
    try:
        return bool(os.stat(directory).st_mode & stat.S_IXOTH)
    except OSError:
        return False
