"""A harmless request to the running service: master.cf may say one thing, and another answer."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress

from greylist.commands.postfix.master import parts

PATIENCE = 10.0
"""Seconds that an answer may take: the time that main.cf should give it."""

_REQUEST = b"""\
request=smtpd_access_policy
protocol_state=VRFY
protocol_name=ESMTP
client_address=192.0.2.1
client_name=unknown
sender=
recipient=postmaster@localhost

"""
"""A question that stores nothing: VRFY delivers nothing."""


def connect(endpoint: str, queue: str, root: str = "") -> socket.socket:
    """Return a connection to an endpoint of main.cf.

    Args:
        endpoint: ``unix:PATH``, ``local:PATH`` or ``inet:HOST:PORT``.
        queue: Postfix's ``queue_directory``, to which a path is relative.
        root: the directory that is the root of who asks, if it runs chrooted.

    Raises:
        OSError: nobody listens there, or this user may not know.
    """
    kind, place = parts(endpoint)
    if kind == "unix":
        found = socket.socket(socket.AF_UNIX)
        try:
            found.settimeout(PATIENCE)
            found.connect(os.path.join(queue, root + place if root else place))
        except OSError:
            found.close()
            raise
        return found
    host, _, port = place.rpartition(":")
    number = int(port) if port.isdigit() else socket.getservbyname(port, "tcp")
    return socket.create_connection((host.strip("[]") or "localhost", number), PATIENCE)


def ask(endpoint: str, queue: str, root: str = "") -> tuple[str, float]:
    """Return the action that a policy service answers, and the seconds it took; empty: hung up.

    Raises:
        OSError: as connect does; TimeoutError: no answer came.
    """
    reply = b""
    # One that hangs up at once may do so before all is sent.
    began = time.monotonic()
    with connect(endpoint, queue, root) as found, suppress(ConnectionResetError, BrokenPipeError):
        found.sendall(_REQUEST)
        while not reply.endswith(b"\n\n"):
            data = found.recv(4096)
            if not data:
                break
            reply += data
    text = reply.decode("ascii", "replace").strip()
    return text.removeprefix("action="), time.monotonic() - began


def is_running(queue: str) -> bool:
    """Return whether Postfix's master runs."""
    try:
        with open(os.path.join(queue, "pid", "master.pid"), encoding="ascii") as file:
            os.kill(int(file.read()), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
