"""The filters that master.cf starts: the settings and the user of each."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, NamedTuple

import click

from greylist import settings as settings_module
from greylist.commands.check.account import Account, named
from greylist.commands.check.report import Finding
from greylist.commands.invocation import Invocation, invocation
from greylist.settings import Settings
from greylist.watched_file import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.commands.check.report import Findings
    from greylist.commands.postfix.master import Service
    from greylist.commands.postfix.postconf import Postfix

_CONFIG = "GREYLIST_CONFIG="

_ELSEWHERE = ("database", "whitelist")
"""Settings that make commands look at other files than the filter, if only master.cf has them."""


class Filter(NamedTuple):
    """A filter that a service of master.cf starts.

    Attributes:
        service: the line of master.cf.
        spawned: the command line of greylist there.
        account: the user that it runs as; None if there is no such user.
        settings: the filter's, as far as they have been read.
    """

    service: Service
    spawned: Invocation
    account: Account | None
    settings: Settings

    @property
    def name(self) -> str:
        """The service's name."""
        return self.service.name

    @property
    def path(self) -> str:
        """The file from which it reads its settings."""
        return self.spawned.config or settings_module.DEFAULT_PATH


def filters(postfix: Postfix, services: list[Service]) -> list[Filter]:
    """Return the filters of services, none of their settings read yet."""
    exported = postfix.value("export_environment")
    return [
        Filter(service, called(service, exported), _account(service), Settings())
        for service in services
    ]


def _account(service: Service) -> Account | None:
    try:
        return named(service.user)
    except KeyError:
        return None  # which the finding about master.cf says


def called(service: Service, exported: str) -> Invocation:
    """Return the command line of greylist in master.cf; empty if greylist refuses its options.

    Args:
        service: whose argv may begin with env(1) or an interpreter.
        exported: main.cf's ``export_environment``.
    """
    words = service.words
    start = _program(words)
    group = click.get_current_context().find_root().command
    try:
        with group.make_context("greylist", words[start + 1 :], resilient_parsing=True) as context:
            parameters = dict(context.params)
    except click.UsageError:
        return Invocation("", {})  # what is wrong with it, running the program says
    named = [*exported.replace(",", " ").split(), *words[:start]]
    path = next((w[len(_CONFIG) :] for w in reversed(named) if w.startswith(_CONFIG)), "")
    return invocation(parameters.pop("config") or path, parameters)


def _program(words: list[str]) -> int:
    return next(n for n, word in enumerate(words) if os.path.basename(word) == "greylist")


def compare(found: list[Filter], asked: Invocation, postfix: Postfix) -> Findings:
    """Yield the differences between the filters and the commands that people call.

    Args:
        found: the filters, their settings read.
        asked: how this command was called.
        postfix: whose they are.
    """
    ours = asked.config or settings_module.DEFAULT_PATH
    others = [one for one in found if not _same(one.path, ours)]
    for one in others:
        yield _elsewhere(one, ours, postfix, alone=len(others) == len(found))
    for one in found:
        for option in _ELSEWHERE:
            value = one.spawned.options.get(option, "")
            if value and asked.options.get(option) != value and not _in_file(one, option, value):
                text = f"{one.name} has --{option} {value} in master.cf, where commands do not"
                text += " see it"
                shared = any(_same(one.path, other.path) for other in found if other is not one)
                remedy = "\n".join(_into_file(one, option, value, postfix, shared=shared))
                yield Finding("warning", "settings", text, remedy)


def to_look_at(one: Filter, found: list[Filter], asked: Invocation) -> Invocation:
    """Return with which settings to look at a filter: its own, if they are not to be others.

    A file that is given on the command line is that of the filter that reads it; one that no filter
    reads is to be tried for all.
    """
    is_own = any(_same(other.path, asked.config) for other in found)
    config = one.spawned.config if is_own or not asked.config else asked.config
    return Invocation(config, {**one.spawned.options, **asked.options})


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _elsewhere(one: Filter, ours: str, postfix: Postfix, *, alone: bool) -> Finding:
    """Return the finding that a filter reads another settings file than the commands.

    It may be meant, if another filter reads the commands' file.
    """
    where = "master.cf" if one.spawned.config else "its default"
    text = f"{one.name} reads {one.path} ({where}), and this command {ours}"
    command = f"greylist --config {shlex.quote(one.path)}"
    if not alone:
        return Finding("ok", "settings", f"{text}; for commands about it: {command} ...")
    remedy = f"For commands about it: {command} check\nOr have it read the file of this command:\n"
    remedy += postfix.change(one.service, lambda words: _with_option(words, "config", ours))
    return Finding("warning", "settings", text, remedy)


def _with_option(words: list[str], option: str, value: str) -> list[str]:
    """Return a service's arguments with this value for an option of greylist, and no other."""
    others = without_option(words, option)
    if option == "config":
        others = [word for word in others if not word.startswith(_CONFIG)]
    place = _program([word.removeprefix("argv=") for word in others]) + 1
    return [*others[:place], f"--{option}", value, *others[place:]]


def without_option(words: list[str], option: str) -> list[str]:
    """Return a service's arguments without an option of greylist."""
    kept = []
    rest = iter(words)
    for word in rest:
        if word == f"--{option}":
            next(rest, "")
        elif not word.startswith(f"--{option}="):
            kept.append(word)
    return kept


def with_program(words: list[str], program: str) -> list[str]:
    """Return a service's arguments with another program, its options as they are."""
    start = next(n for n, word in enumerate(words) if word.startswith("argv="))
    end = _program([word.removeprefix("argv=") for word in words])
    return [*words[:start], f"argv={program}", *words[end + 1 :]]


def with_user(words: list[str], user: str) -> list[str]:
    """Return a service's arguments with another user."""
    return [f"user={user}", *(word for word in words if not word.startswith("user="))]


def _in_file(one: Filter, option: str, value: str) -> bool:
    """Return whether a filter's file says the same as its argv, so that commands see it."""
    settings = Settings()
    settings.file = File(one.path)
    try:
        settings.read(lambda *_: None)
    except OSError:
        return False
    return bool(getattr(settings, option) == value)


def set_in_file(path: str, name: str, value: str, *, exists: bool) -> list[str]:
    """Return the commands that have a settings' file say this once, to be typed."""
    quoted = shlex.quote(path)
    commands = []
    if exists:
        commands.append(f"sed -i '/^{name}[[:space:]]*=/d' {quoted}")
    if value:
        commands.append(f"printf '%s\\n' {shlex.quote(f'{name} = {value}')} >>{quoted}")
    return commands


def _into_file(
    one: Filter, option: str, value: str, postfix: Postfix, *, shared: bool
) -> Iterator[str]:
    """Yield the commands that move an option to the file that commands read, to be typed.

    Args:
        one: the filter.
        option: the name of a setting.
        value: its value.
        postfix: whose filter it is.
        shared: whether another filter reads that file too; then this one gets a file of its own.
    """
    path, exists = one.path, os.path.exists(one.path)
    if shared:
        path = f"{path}.{one.name}"
        if exists:
            yield f"cp -p {shlex.quote(one.path)} {shlex.quote(path)}"
    yield from set_in_file(path, option, value, exists=exists)

    def edit(words: list[str]) -> list[str]:
        words = without_option(words, option)
        return _with_option(words, "config", path) if shared else words

    yield postfix.change(one.service, edit)
    yield postfix.shell("postfix", "reload")
