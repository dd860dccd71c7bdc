"""``setup --serve``: the server and its socket, under systemd."""

from __future__ import annotations

import os
import shutil
import socket
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.setup.account import example
from greylist.settings import DEFAULT_PATH

if TYPE_CHECKING:
    from greylist.commands.setup.steps import Steps

UNITS = ("greylist.service", "greylist.socket")
DIRECTORY = "/etc/systemd/system"
_SOCKET = "/var/spool/postfix/private/greylist"
_PACKAGED = ("/usr/lib/systemd/system", "/lib/systemd/system")


class Server(NamedTuple):
    """What the units say.

    Attributes:
        program: the script.
        user: whom it runs as.
        socket: the path of its socket.
        config: the settings' file.
        directory: where the administrator's units are.
    """

    program: str
    user: str
    socket: str
    config: str
    directory: str

    def unit(self, name: str) -> str:
        """Return the text of a unit."""
        text = example(name)
        text = text.replace("/usr/bin/greylist ", f"{self.program} ")
        text = text.replace(_SOCKET, self.socket)
        text = text.replace("User=greylist\nGroup=greylist\n", f"User={self.user}\n")
        if self.config != DEFAULT_PATH:
            line = f"Environment=GREYLIST_CONFIG={self.config}\n"
            text = text.replace("[Service]\n", f"[Service]\n{line}")
        return text

    def is_usual(self) -> bool:
        """Return whether a package's units are right as they are."""
        return (self.user, self.socket, self.config) == ("greylist", _SOCKET, DEFAULT_PATH)


def make_units(steps: Steps, server: Server) -> None:
    """Write the units, unless a package of the system or somebody has done so."""
    for name in UNITS:
        places = [server.directory, *(_PACKAGED if server.is_usual() else ())]
        there = next((d for d in places if os.path.exists(os.path.join(d, name))), None)
        if there:
            steps.keep(os.path.join(there, name))
            continue
        target = os.path.join(server.directory, name)
        steps.change(f"write {target}", partial(_write, target, server.unit(name)))


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o644)
        file.write(text)


def runs_systemd() -> bool:
    """Return whether systemd is this system's first process (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system") and bool(shutil.which("systemctl"))


def start(steps: Steps, path: str) -> bool:
    """Start the server, and at every boot; return whether one listens, or would.

    Without systemd it is said what somebody else has to start.
    """
    if runs_systemd():
        steps.run("systemctl", "daemon-reload")
        steps.run("systemctl", "enable", "--now", *reversed(UNITS))
        return True
    if listens(path):
        steps.keep(f"a server listens at {path}")
        return True
    steps.say(
        "no systemd runs here: have your supervisor start the server, then run this again:\n"
        f"          greylist serve --listen unix:{path}"
    )
    return False


def stop(steps: Steps, directory: str) -> None:
    """Stop the server that systemd runs, and delete the units that a set-up wrote."""
    units = [os.path.join(directory, name) for name in UNITS]
    there = [path for path in units if os.path.exists(path)]
    if runs_systemd() and (there or any(_packaged(name) for name in UNITS)):
        steps.run("systemctl", "disable", "--now", *UNITS)
    for path in there:
        steps.change(f"delete {path}", partial(os.unlink, path))
    if there and runs_systemd():
        steps.run("systemctl", "daemon-reload")


def _packaged(name: str) -> bool:
    return any(os.path.exists(os.path.join(place, name)) for place in _PACKAGED)


def listens(path: str) -> bool:
    """Return whether a server accepts connections at a unix socket."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(2)
        try:
            client.connect(path)
        except OSError:
            return False
    return True
