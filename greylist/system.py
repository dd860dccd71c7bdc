"""The directories of the system, in which no database of ours may be."""

from __future__ import annotations

import os

_SYSTEM = """
/ /bin /boot /dev /dev/shm /etc /etc/postfix /home /lib /lib32 /lib64 /media /mnt /opt /proc /root
/run /run/lock /sbin /srv /sys /tmp /usr /usr/bin /usr/lib /usr/libexec /usr/local /usr/local/bin
/usr/local/etc /usr/local/lib /usr/local/sbin /usr/sbin /usr/share /var /var/backups /var/cache
/var/lib /var/local /var/lock /var/log /var/mail /var/opt /var/run /var/spool /var/spool/cron
/var/spool/mail /var/spool/postfix /var/tmp
""".split()
"""Directories that programs share; the database needs one of its own (hier(7))."""

_TREES = "/bin /boot /etc /lib /lib32 /lib64 /sbin /usr /var/spool/cron".split()
_LOCAL = "/usr/local"
"""Trees whose files mean something to the system wherever they are: cron.d, sudoers.d, units; and
one in there that is the administrator's own."""

_KERNEL = ("/dev", "/proc", "/sys")
"""File systems of the kernel's."""


def is_system(directory: os.stat_result) -> bool:
    """Return whether a directory is one that programs share, by whatever path it was reached."""
    root = os.stat("/")
    kernel = [found for name in _KERNEL if (found := _status(name))]
    if any(found.st_dev == directory.st_dev for found in kernel if root.st_dev != found.st_dev):
        return True
    shared = [found for name in _SYSTEM if (found := _status(name))]
    return any(os.path.samestat(found, directory) for found in shared)


def is_in_system(directory: str) -> bool:
    """Return whether a directory is below one whose files the system itself reads."""
    found = os.path.realpath(directory)
    return _is_below(found, _TREES) and not _is_below(found, [_LOCAL])


def _is_below(path: str, trees: list[str]) -> bool:
    return any(path.startswith(f"{tree}/") for tree in trees)


def _status(name: str) -> os.stat_result | None:
    try:
        return os.stat(name)
    except OSError:
        return None


def has_others(path: str) -> bool:
    """Return whether a database's directory holds files that are none of the database's own.

    It is then not for us to say who may use it. What belongs to the database begins with its name.
    """
    directory, name = os.path.split(path)
    try:
        return any(not other.startswith((name, "lost+found")) for other in os.listdir(directory))
    except OSError:
        return True


def quoted(path: str) -> str:
    """Return a path as it is typed into a shell: a remedy must not be about two others."""
    from shlex import quote  # late: with re, 5 ms that only trouble is worth

    return quote(path)
