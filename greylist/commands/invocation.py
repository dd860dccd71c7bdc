"""How a greylist was called: the settings' file, and the settings beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Invocation(NamedTuple):
    """A command line.

    Attributes:
        config: the settings' file that it names; empty if it names none.
        options: what it sets, as it would stand in that file.
    """

    config: str
    options: dict[str, str]


def invocation(config: str | None, options: Mapping[str, Any]) -> Invocation:
    """Return how greylist was called.

    Args:
        config: the file.
        options: the values of the options by name, as click has them; None: not given.
    """
    given = {name: _text(value) for name, value in options.items() if value is not None}
    if given.get("verbose") == "0":
        del given["verbose"]
    return Invocation(config or "", given)


def _text(value: bool | int | str) -> str:
    """Return an option's value as it would stand in the file."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(min(value, 3)) if isinstance(value, int) else value
