"""The steps of a set-up: each is shown before it is done; in a dry run it is only shown."""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable


class Refusal(click.ClickException):
    """The set-up cannot tell what is right here, and leaves it to a person."""


class Steps:
    """Does and shows what is to be changed.

    Attributes:
        dry: nothing is changed, only shown.
        count: how many changes there were.
    """

    def __init__(self, dry: bool) -> None:
        self.dry = dry
        self.count = 0

    def change(self, words: str, function: Callable[[], object]) -> None:
        """Show a change, and make it unless this is a dry run."""
        self.count += 1
        click.echo(f"{'would do' if self.dry else 'do'}    {words}")
        if not self.dry:
            function()

    def run(self, *command: str) -> None:
        """Show a command that changes something, and run it unless this is a dry run.

        Raises:
            Refusal: it failed; with the last line of what it said.
        """
        self.change(shlex.join(command), lambda: _run(command))

    def keep(self, words: str) -> None:
        """Show what is there already, and stays as it is."""
        click.echo(f"{'is there' if self.dry else 'ok'}    {words}")

    def say(self, words: str) -> None:
        """Show what a person should know."""
        click.echo(f"note  {words}")


def _run(command: tuple[str, ...]) -> None:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            timeout=120,
            check=False,
        )
    except OSError as error:
        raise Refusal(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr or "").strip().splitlines()
        raise Refusal(f"{shlex.join(command)}: {said[-1] if said else 'it failed'}")
