"""A file put in the place of another, at once as a whole, wherever root is told to put it.

The place may be in reach of somebody else, who would like to see root write to a file of his
choice. So no symbolic link of another user's is followed on the way, and one that stands at the
end is replaced itself.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress

import click

_LINKS = 40
"""Symbolic links that are followed on one way, as in the kernel."""

_PLACE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
"""How a directory is opened of which only names are wanted."""

_MODE = 0o644
"""The mode of a file that was not there before: a web server or a collector is to read it."""


def write_whole(path: str, text: str) -> None:
    """Put a file in the place of another, so that nobody ever reads half of it.

    The text may have bytes that are no UTF-8, as surrogates.

    It keeps the mode and, if it can be, the owner of a file that was there. What is no file, such
    as a terminal or a FIFO, is written to.

    Raises:
        click.FileError: it cannot be written.
    """
    directory, name = os.path.split(path)
    try:
        parent = _opened(directory)
        try:
            stream = _stream(parent, name)
            if stream is None:
                _replace(parent, name, text)
            else:
                _write(stream, text)
        finally:
            os.close(parent)
    except OSError as error:
        raise click.FileError(path, error.strerror) from error


def _opened(directory: str) -> int:
    """Open a directory by a way on which each symbolic link is root's or our own.

    Raises:
        OSError: there is no such way.
    """
    here = os.open("/", _PLACE)
    names = _names(os.path.join(os.getcwd(), directory))
    links = 0
    try:
        while names:
            name = names.pop()
            status = os.stat(name, dir_fd=here, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                before, here = here, os.open(name, _PLACE | os.O_NOFOLLOW, dir_fd=here)
                os.close(before)
                continue
            links += 1
            if links > _LINKS or not _is_trusted(status):
                raise OSError(
                    errno.ELOOP, f"{name} is another user's symbolic link, or in a circle"
                )
            target = os.readlink(name, dir_fd=here)
            if target.startswith("/"):
                os.close(here)
                here = os.open("/", _PLACE)
            names += _names(target)
    except OSError:
        os.close(here)
        raise
    return here


def _names(path: str) -> list[str]:
    """Return the names on a way, the last one first."""
    return [name for name in reversed(path.split("/")) if name not in {"", "."}]


def _is_trusted(link: os.stat_result) -> bool:
    return link.st_uid in {0, os.geteuid()}


def _stream(parent: int, name: str) -> int | None:
    """Open what is to be written to, such as /dev/stdout; None stands for a file to be replaced.

    Something else may stand there as soon as it has been looked at, so no link is followed but
    the one that was seen, and what was opened is looked at again.
    """
    target, follow = name, os.O_NOFOLLOW
    status = _status(parent, name)
    if status and stat.S_ISLNK(status.st_mode) and _is_trusted(status):
        target, follow = os.readlink(name, dir_fd=parent), 0
        with suppress(FileNotFoundError):
            status = os.stat(target, dir_fd=parent)
    descriptors = target.startswith("/proc/")  # as /dev/stdout is, which may be a file
    if not descriptors and not _is_stream(status):
        return None
    flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | follow
    stream = os.open(target, flags, dir_fd=parent)
    if not descriptors and not _is_stream(os.fstat(stream)):
        os.close(stream)
        raise OSError(errno.EBUSY, f"{name} was replaced meanwhile")
    return stream


def _is_stream(status: os.stat_result | None) -> bool:
    mode = status.st_mode if status else 0
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _status(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _replace(parent: int, name: str, text: str) -> None:
    temporary = f".{name}.{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, 0o600, dir_fd=parent)
    try:
        _like(descriptor, _status(parent, name))
        _write(descriptor, text)
        os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except OSError:
        os.unlink(temporary, dir_fd=parent)
        raise


def _like(descriptor: int, before: os.stat_result | None) -> None:
    """Give a file the owner and the mode of the one that it will replace."""
    mode = _MODE
    if before and stat.S_ISREG(before.st_mode):
        mode = stat.S_IMODE(before.st_mode) & 0o777
        with suppress(PermissionError):
            os.fchown(descriptor, before.st_uid, before.st_gid)
    os.fchmod(descriptor, mode)


def _write(descriptor: int, text: str) -> None:
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
