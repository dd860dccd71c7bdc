"""The user that the filters run as, the directory of the database, the settings and the list."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from typing import TYPE_CHECKING

from greylist.commands.setup.steps import Refusal
from greylist.commands.whole_file import write_whole
from greylist.settings import Settings, load
from greylist.store.opening import is_url
from greylist.watched_file import File

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.commands.setup.steps import Steps

_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def make_user(steps: Steps, user: str, home: str, owner: str) -> None:
    """Make a system user of our own, if there is none of that name.

    Args:
        steps: makes it.
        user: its name.
        home: its home directory, which is not made.
        owner: as whom Postfix itself runs.
    """
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        command = "useradd --system --user-group --no-create-home --shell /usr/sbin/nologin"
        steps.run(*command.split(), "--home-dir", home, user)
        return
    if entry.pw_uid == 0 or user == owner:
        raise Refusal(f"spawn(8) runs nothing as {user}: name another user with --user")
    steps.keep(f"user {user}")


def directory_of(settings: Settings) -> str:
    """Return the directory of the database; empty when several hosts share it."""
    if is_url(settings.database):
        return ""
    return os.path.dirname(os.path.abspath(settings.database))


def make_directory(steps: Steps, settings: Settings, user: str) -> None:
    """Make the database's directory, which belongs to that user alone."""
    directory = directory_of(settings)
    if not directory:
        return
    if os.path.isdir(directory):
        steps.keep(f"directory {directory}")
        return

    def make() -> None:
        entry = pwd.getpwnam(user)
        os.makedirs(os.path.dirname(directory), exist_ok=True)
        # Renamed when it is complete: a set-up that was interrupted can be run again.
        unfinished = f"{directory}.new"
        os.makedirs(unfinished, 0o700, exist_ok=True)
        # Not by its name: where somebody else can put a link, it would be another directory's.
        found = os.open(unfinished, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.fchown(found, entry.pw_uid, entry.pw_gid)
        os.close(found)
        os.rename(unfinished, directory)

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
    text = example(name)
    words = f"write {path} from {name}.example"
    _write(steps, words, path, text, list(further))


def _write(steps: Steps, words: str, path: str, text: str, lines: list[str]) -> None:
    if lines:
        text += "\n" + "".join(f"{line}\n" for line in lines)
        words += ", with" + "".join(f"\n        {line}" for line in lines)
    steps.change(words, lambda: write_whole(path, text))


def refuse_options(path: str, options: dict[str, str]) -> None:
    """Refuse options that the filters would not see, as the settings file says otherwise.

    Raises:
        Refusal: the file has settings, and others; or the option would tell a password to all.
    """
    if is_url(options.get("database", "/")):
        from greylist.store.valkey.url import parse

        if parse(options["database"]).password:
            raise Refusal(
                f"everybody would read that password in {path}: put it into a file of its own, "
                "--database-password-file"
            )
    if os.path.exists(path) and not _is_silent(path):
        for line in _not_said(path, setting_lines(options)):
            raise Refusal(f"{path} has other settings than the options: write there\n    {line}")


def setting_lines(options: dict[str, str]) -> list[str]:
    """Return lines of greylist.cf for the settings given as options."""
    return [f"{name} = {value}" for name, value in options.items()]


def make_settings(steps: Steps, path: str, lines: list[str]) -> None:
    """Write the file of settings, or say what should be in it; lines in it stay as they are.

    Args:
        steps: writes it.
        path: the file. Where it sets nothing, as a package's, the lines are added.
        lines: what it should say beside the example; comments begin with a #.
    """
    if not os.path.exists(path):
        make_file(steps, path, "greylist.cf", lines)
        return
    missing = _not_said(path, lines)
    if not missing:
        steps.keep(path)
    elif _is_silent(path):
        text = File(path).read().decode("utf-8", "surrogateescape")
        _write(steps, f"add to {path}", path, text, lines)
    else:
        steps.keep(path)
        shown = "".join(f"\n        {line}" for line in missing)
        steps.say(f"{path} has settings of its own; these are not in it:{shown}")


def _not_said(path: str, lines: list[str]) -> list[str]:
    """Return the lines, but for comments, that a file of settings does not say."""
    said = load(path)
    missing = []
    for line in lines:
        name, _, value = (part.strip() for part in line.partition("="))
        if not line.startswith("#"):
            wanted = Settings()
            wanted.set(name, value)
            if getattr(said, name) != getattr(wanted, name):
                missing.append(line)
    return missing


def _is_silent(path: str) -> bool:
    """Return whether a file of settings sets nothing, as the example does."""
    settings = Settings()
    settings.file = File(path)
    said: list[str] = []
    settings.read(lambda _number, name, _wrong: said.append(name))
    return not said


def program(user: str) -> str:
    """Return the path of the script that Postfix is to run.

    Raises:
        Refusal: it is not known, or lies where that user cannot reach it.
    """
    called = os.path.abspath(sys.argv[0])
    if not (os.path.basename(called) == "greylist" and os.access(called, os.X_OK)):
        found = shutil.which("greylist")
        if not found:
            raise Refusal("there is no program greylist on the PATH")
        called = os.path.abspath(found)
    for path in (called, sys.executable, _PACKAGE):
        closed = _closed_to(user, path)
        if closed:
            raise Refusal(
                f"{called} needs {closed}, which {user} cannot enter: install greylist where every "
                "user can read it, as in /usr/local/lib (docs/installing.md)"
            )
    return called


def _closed_to(user: str, path: str) -> str:
    """Return a directory on the way to a file, links followed, that a user cannot enter."""
    try:
        entry = pwd.getpwnam(user)
        uid, groups = entry.pw_uid, set(os.getgrouplist(user, entry.pw_gid))
    except KeyError:
        uid, groups = -1, set()
    for way in (path, os.path.realpath(path)):
        directory = os.path.dirname(way)
        while directory != "/":
            status = os.stat(directory)
            ours = (status.st_uid == uid) << 6 | (status.st_gid in groups) << 3 | 1
            if not status.st_mode & ours:
                return directory
            directory = os.path.dirname(directory)
    return ""
