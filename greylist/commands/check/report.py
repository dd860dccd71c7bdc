"""A finding of ``greylist check``."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    Findings = Iterator["Finding"]


class Finding(NamedTuple):
    """A finding, and its remedy.

    Attributes:
        level: ``ok``, ``warning`` or ``error``.
        subject: what was looked at, in a word.
        text: what was found.
        remedy: what to do about it; empty when all is well.
    """

    level: str
    subject: str
    text: str
    remedy: str = ""
