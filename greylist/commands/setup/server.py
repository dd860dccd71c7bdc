"""``setup --serve``: the server and its socket, under systemd."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.check.probe import connect
from greylist.commands.setup.account import example
from greylist.commands.setup.steps import Refusal
from greylist.commands.whole_file import write_whole
from greylist.settings import DEFAULT_PATH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.setup.steps import Steps

UNITS = ("greylist.service", "greylist.socket")
DIRECTORY = "/etc/systemd/system"
_SOCKET = "/var/spool/postfix/private/greylist"
_STATES = ("enabled", "active")
_DATA = "/var/lib/greylist"
_PACKAGED = ("/usr/lib/systemd/system", "/lib/systemd/system")


class Server(NamedTuple):
    """What the units say.

    Attributes:
        program: the script.
        user: whom it runs as.
        socket: the path of its socket.
        config: the settings' file.
        data: the database's directory; empty when several hosts share it.
        directory: where the administrator's units are.
    """

    program: str
    user: str
    socket: str
    config: str
    data: str
    directory: str

    def unit(self, name: str) -> str:
        """Return the text of a unit."""
        text = example(name)
        text = text.replace("/usr/bin/greylist ", f"{_word(self.program)} ")
        text = text.replace(_SOCKET, _escaped(self.socket))
        text = text.replace("User=greylist\nGroup=greylist\n", f"User={self.user}\n")
        if self.data not in {"", _DATA}:
            state = "StateDirectory=greylist\nStateDirectoryMode=0700\n"
            text = text.replace(state, f"ReadWritePaths={_word(self.data)}\n")
        if self.config != DEFAULT_PATH:
            line = f"Environment={_word(f'GREYLIST_CONFIG={self.config}')}\n"
            text = text.replace("[Service]\n", f"[Service]\n{line}")
        return text

    def is_usual(self) -> bool:
        """Return whether a package's units are right as they are."""
        usual = ("greylist", _SOCKET, DEFAULT_PATH)
        return (self.user, self.socket, self.config) == usual and self.data in {"", _DATA}


def _escaped(text: str) -> str:
    """Return a text without systemd's specifiers."""
    return text.replace("%", "%%")


def _word(text: str) -> str:
    """Return a text as one word of a unit's line."""
    text = _escaped(text)
    return f'"{text}"' if " " in text else text


def _there(server: Server, name: str) -> str:
    """Return the path of a unit that is there; empty if there is none."""
    places = [server.directory, *(_PACKAGED if server.is_usual() else ())]
    return next(filter(os.path.exists, _paths(places, name)), "")


def refuse_elsewhere(server: Server) -> None:
    """Refuse to go on if the socket's unit is for another path, as of another Postfix.

    Raises:
        Refusal: there is one.
    """
    path = _there(server, "greylist.socket")
    if path and f"ListenStream={_escaped(server.socket)}\n" not in _text(path):
        raise Refusal(
            f"{path} listens elsewhere, and this Postfix asks at {server.socket}: "
            "add a ListenStream= of that to it"
        )


def make_units(steps: Steps, server: Server) -> None:
    """Write the units, unless a package of the system or somebody has done so."""
    for name in UNITS:
        if there := _there(server, name):
            steps.keep(there)
            continue
        target = os.path.join(server.directory, name)
        steps.change(f"write {target}", partial(write_whole, target, server.unit(name)))


def _paths(places: Iterable[str], *names: str) -> Iterator[str]:
    return (os.path.join(place, name) for name in names for place in places)


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def runs_systemd() -> bool:
    """Return whether systemd is this system's first process (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system") and bool(shutil.which("systemctl"))


def start(steps: Steps, path: str, written: bool) -> bool:
    """Start the server, and at every boot; return whether one listens, or would.

    Without systemd it is said what somebody else has to start.

    Args:
        steps: starts it.
        path: its socket.
        written: whether its units are new to systemd.
    """
    if runs_systemd():
        if written:
            steps.run("systemctl", "daemon-reload")
        if all(_is(state, name) for name in UNITS for state in _STATES):
            steps.keep("greylist.service runs")
        else:
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
    there = [path for path in _paths([directory], *UNITS) if os.path.exists(path)]
    if runs_systemd():
        running = [name for name in UNITS if any(_is(state, name) for state in _STATES)]
        if running:
            steps.run("systemctl", "disable", "--now", *running)
    for path in there:
        steps.change(f"delete {path}", partial(os.unlink, path))
    if there and runs_systemd():
        steps.run("systemctl", "daemon-reload")


def _is(state: str, name: str) -> bool:
    """Return whether a unit is enabled, or active."""
    command = ["systemctl", f"is-{state}", "--quiet", name]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def listens(path: str) -> bool:
    """Return whether a server accepts connections at a unix socket."""
    try:
        connect(f"unix:{path}", "/").close()
    except OSError:
        return False
    return True
