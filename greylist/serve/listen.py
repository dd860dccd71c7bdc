"""The sockets that a server listens on: its own, or those that systemd hands over.

address :== "unix:" path | "inet:" host ":" port | "inet:[" IPv6 address "]:" port
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import socket
import stat
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from greylist.settings import Settings

BACKLOG = 1024
"""Connections that wait in the kernel for being accepted."""

FIRST = 3
"""The first descriptor that systemd hands over (sd_listen_fds(3))."""


class ListenError(Exception):
    """A socket cannot be listened on; the text says why, and what mends it."""


def sockets(settings: Settings, warn: Callable[[str], object]) -> list[socket.socket]:
    """Return the sockets to serve, listening.

    Args:
        settings: name the addresses, and the mode and owner of unix sockets.
        warn: is told of an address that other hosts can reach.

    Raises:
        ListenError: an address is in use, or cannot be bound.
    """
    found = inherited()
    if not found and not settings.listen:
        raise ListenError(
            "there is no address to listen on; mend it: listen = "
            "unix:/var/spool/postfix/private/greylist in greylist.cf, or --listen"
        )
    found = found or [_bound(address, settings) for address in settings.listen]
    for one in found:
        one.setblocking(False)
        _warn_if_open(one, warn)
    return found


def inherited() -> list[socket.socket]:
    """Return the sockets that systemd hands over, if it does (sd_listen_fds(3)).

    Raises:
        ListenError: they are none that a server listens on.
    """
    pid, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "0")
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for number in range(FIRST, FIRST + int(count)):
        try:
            one = socket.socket(fileno=number)
            listens = one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise ListenError(f"LISTEN_FDS: descriptor {number}: {error.strerror}") from error
        if not listens:
            raise ListenError(
                f"LISTEN_FDS: descriptor {number} does not listen; mend it: have ListenStream= and "
                "Accept=no in the socket's unit (with Accept=yes, start greylist without serve)"
            )
        os.set_inheritable(number, False)
        found.append(one)
    return found


def _bound(address: str, settings: Settings) -> socket.socket:
    """Return a socket that listens at an address of the settings.

    Raises:
        ListenError: the address cannot be listened on.
    """
    kind, _, rest = address.partition(":")
    return _unix(rest, settings) if kind == "unix" else _inet(rest)


def _warn_if_open(listener: socket.socket, warn: Callable[[str], object]) -> None:
    """Warn of an address that other hosts can reach."""
    if listener.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    host, port = listener.getsockname()[:2]
    if not ip_address(host).is_loopback:
        shown = f"[{host}]" if ":" in host else host
        warn(
            f"inet:{shown}:{port} can be reached from other hosts: any client there can ask who "
            "writes to whom, and fill the database; keep it behind a firewall"
        )


def _unix(path: str, settings: Settings) -> socket.socket:
    """Return a socket bound to a path; one that nobody listens on any more is replaced.

    Raises:
        ListenError: somebody listens there, or it cannot be bound.
    """
    listener = socket.socket(socket.AF_UNIX)
    try:
        with _alone(os.path.dirname(path)):
            _bind(listener, path, settings)
    except OSError as error:
        listener.close()
        raise ListenError(f"unix:{path}: {error.strerror or error}") from error
    except ListenError:
        listener.close()
        raise
    return listener


@contextmanager
def _alone(directory: str) -> Iterator[None]:
    """Keep other servers from replacing a socket here: one of them would replace a new one."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _bind(listener: socket.socket, path: str, settings: Settings) -> None:
    """Listen at a path, which nobody else looks at meanwhile."""
    _clear(path)
    user, group = _owner(settings)
    # It has its mode from the start: the directory's owner could put a symbolic link in its
    # place, and what root did to it by its name would be done to another's file.
    before = os.umask(0o777 & ~settings.listen_mode)
    try:
        listener.bind(path)
    finally:
        os.umask(before)
    if user != -1 or group != -1:
        os.chown(path, user, group, follow_symlinks=False)
    listener.listen(BACKLOG)


def _clear(path: str) -> None:
    """Remove a socket that a dead server left.

    Raises:
        ListenError: what is there is alive, or no socket.
    """
    try:
        mode = os.lstat(path).st_mode
        if stat.S_ISDIR(mode):
            raise ListenError(f"unix:{path} is a directory: name a socket in it")
        if not stat.S_ISSOCK(mode):
            raise ListenError(f"unix:{path} is not a socket; mend it: mv {path} {path}.old")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError as error:
            raise ListenError(f"unix:{path}: {error.strerror or error}") from error
    raise ListenError(f"unix:{path} is in use: another server listens there")


def _owner(settings: Settings) -> tuple[int, int]:
    """Return the user and group of a unix socket as numbers, -1 for one left unchanged.

    Raises:
        ListenError: there is no such user or group.
    """
    user = group = -1
    try:
        if settings.listen_owner:
            user = pwd.getpwnam(settings.listen_owner).pw_uid
        if settings.listen_group:
            group = grp.getgrnam(settings.listen_group).gr_gid
    except KeyError as error:
        raise ListenError(f"listen_owner, listen_group: {error.args[0]}") from error
    return user, group


def _inet(rest: str) -> socket.socket:
    """Return a socket that listens at a host's address and a port.

    Raises:
        ListenError: the address is in use, or cannot be bound.
    """
    family, host, port = endpoint(rest)
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        in_use = error.errno == errno.EADDRINUSE
        reason = "in use: another server listens there" if in_use else error.strerror or str(error)
        raise ListenError(f"inet:{rest}: {reason}") from error
    return listener


def endpoint(text: str) -> tuple[int, str, int]:
    """Return the family, the address and the port of ``ADDRESS:PORT``, as the settings have it."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return (socket.AF_INET6 if ":" in host else socket.AF_INET), host, int(port)


def notify(state: bytes) -> None:
    """Tell the supervisor how this process is, where it wants to know (sd_notify(3))."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in {"/", "@"}:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        try:
            channel.sendto(state, path.replace("@", "\0", 1) if path[0] == "@" else path)
        except OSError:
            pass  # a supervisor that does not listen
