"""The user that the filters run as, the directory of the database, the settings and the list."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from typing import TYPE_CHECKING

from greylist.commands.setup.steps import Refusal
from greylist.store.opening import is_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.commands.setup.steps import Steps
    from greylist.settings import Settings

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_user(steps: Steps, user: str, home: str) -> None:
    """Make the system's user that nobody else is, if there is none."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        command = "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin"
        steps.run(*command.split(), "--home-dir", home, user)
        return
    if entry.pw_uid == 0 or user == "postfix":
        raise Refusal(f"spawn(8) runs nothing as {user}: name another user with --user")
    steps.keep(f"user {user}")


def make_directory(steps: Steps, settings: Settings, user: str) -> None:
    """Make the database's directory, which belongs to that user alone."""
    if is_url(settings.database):
        return
    directory = os.path.dirname(os.path.abspath(settings.database))
    if os.path.isdir(directory):
        steps.keep(f"directory {directory}")
        return

    def make() -> None:
        entry = pwd.getpwnam(user)
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        os.mkdir(directory, 0o700)
        os.chown(directory, entry.pw_uid, entry.pw_gid)

    steps.change(f"make directory {directory}, mode 0700, of {user}", make)


def example(name: str) -> str:
    """Return the text of an example: of the package's data, or of a checkout."""
    checkout = os.path.dirname(_PACKAGE)
    places = (
        os.path.join(_PACKAGE, "examples", f"{name}.example"),
        os.path.join(checkout, f"{name}.example"),
        os.path.join(checkout, "packaging", "systemd", name),
    )
    path = next(filter(os.path.exists, places), None)
    if not path:
        raise Refusal(f"this installation has no {name}.example: install it anew")
    with open(path, encoding="utf-8") as file:
        return file.read()


def make_file(steps: Steps, path: str, name: str, further: Iterable[str] = ()) -> None:
    """Write a file from its example and further lines; one that exists is never touched."""
    if os.path.exists(path):
        steps.keep(path)
        return
    lines = [f"{line}\n" for line in further]
    text = example(name) + "".join(["\n", *lines] if lines else [])

    def make() -> None:
        with open(path, "x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(text)

    shown = "".join(f"\n        {line.rstrip()}" for line in lines)
    steps.change(f"write {path} from {name}.example{', with' if lines else ''}{shown}", make)


def program() -> str:
    """Return the path of the script that Postfix is to run.

    Raises:
        Refusal: it is not known.
    """
    called = os.path.abspath(sys.argv[0])
    if os.path.basename(called) == "greylist" and os.access(called, os.X_OK):
        return called
    found = shutil.which("greylist")
    if not found:
        raise Refusal("there is no program greylist on the PATH")
    return os.path.abspath(found)
