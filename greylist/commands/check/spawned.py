"""How master.cf calls the filter: with which settings, and as whom."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from greylist import settings as settings_module
from greylist.commands.check.report import Finding
from greylist.commands.invocation import Invocation, invocation

if TYPE_CHECKING:
    from greylist.commands.check.postconf import Service
    from greylist.commands.check.report import Findings

_CONFIG = "GREYLIST_CONFIG="

_ELSEWHERE = ("database", "whitelist")
"""Settings that make commands look at other files than the filter, if only master.cf has them."""


def called(service: Service, exported: str) -> Invocation:
    """Return how master.cf calls a greylist.

    Args:
        service: whose argv may begin with env(1) or an interpreter.
        exported: main.cf's ``export_environment``.

    Raises:
        click.UsageError: greylist does not take these options.
    """
    words = list(service.argv)
    start = next(n for n, word in enumerate(words) if os.path.basename(word) == "greylist")
    group = click.get_current_context().find_root().command
    with group.make_context("greylist", words[start + 1 :], resilient_parsing=True) as context:
        parameters = dict(context.params)
    named = [*exported.replace(",", " ").split(), *words[:start]]
    path = next((w[len(_CONFIG) :] for w in reversed(named) if w.startswith(_CONFIG)), "")
    return invocation(parameters.pop("config") or path, parameters)


def compare(name: str, asked: Invocation, spawned: Invocation) -> Findings:
    """Yield the differences between a service's filter and the commands that people call."""
    theirs = spawned.config or settings_module.DEFAULT_PATH
    ours = asked.config or os.environ.get("GREYLIST_CONFIG") or settings_module.DEFAULT_PATH
    if os.path.realpath(theirs) != os.path.realpath(ours):
        text = f"{name} reads {theirs} (master.cf), and this command {ours}"
        if not spawned.config:
            yield Finding("ok", "settings", text)
        else:
            remedy = f"greylist --config {theirs} check\nThe same for each other command."
            yield Finding("warning", "settings", text, remedy)
    for option in _ELSEWHERE:
        value = spawned.options.get(option, "")
        if value and asked.options.get(option) != value:
            text = f"{name} has --{option} {value} in master.cf, where commands do not see it"
            remedy = f"Write {option} = {value} into {theirs}, and take it out of master.cf; until"
            remedy += f" then:\ngreylist --config {theirs} --{option} {value} check"
            yield Finding("warning", "settings", text, remedy)
