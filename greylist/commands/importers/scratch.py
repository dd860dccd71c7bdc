"""Scratch copies: what is imported may be open elsewhere, and must not change by being read.

Root works on the copies as the user whose files they are: a log made to that end could have libdb,
which recovers from it, write to any file by its name.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from greylist import temporary
from greylist.commands.importers.rows import ForeignError
from greylist.privileges import acting_as

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def copies(paths: list[str]) -> Iterator[str]:
    """Copy files of one directory into one of their own, in this order; it goes with the context.

    Raises:
        ForeignError: a file cannot be read, or its copy not be written.
    """
    with temporary.directory("greylist-import-") as directory:
        try:
            owners = {_copy(path, directory) for path in paths}
            owner = _one_of(owners, os.path.dirname(os.path.abspath(paths[0])))
            if os.geteuid() == 0:
                for name in ("", *os.listdir(directory)):
                    os.chown(os.path.join(directory, name), owner, -1)
        except OSError as error:
            raise ForeignError(f"{error.filename or directory}: {error.strerror}") from error
        with acting_as(owner):
            yield directory


def _copy(path: str, directory: str) -> int:
    """Copy a file; return its owner."""
    with _opened(path) as source:
        with open(os.path.join(directory, os.path.basename(path)), "xb") as target:
            shutil.copyfileobj(source, target)
        return os.fstat(source.fileno()).st_uid


def _opened(path: str) -> BinaryIO:
    """Open a regular file, following no symbolic link but root's or our own."""
    follow = os.lstat(path).st_uid in {0, os.geteuid()}
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ForeignError(f"{path}: not a regular file")
    return open(descriptor, "rb")


def _one_of(owners: set[int], directory: str) -> int:
    """Return whose the files are; a directory that is not root's has to be the same user's.

    Raises:
        ForeignError: they are of several users, of whom one may want to see another's file.
    """
    place = os.stat(directory).st_uid
    if os.geteuid() == 0 and len(owners | {place} - {0}) > 1:
        raise ForeignError(
            f"{directory}: files of several users; copy what is to be imported into a directory "
            "of root's, and give all of it to one user (chown)"
        )
    return owners.pop()
