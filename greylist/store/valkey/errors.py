"""Why a server cannot be used, and the time that is left for it."""

from __future__ import annotations

import time


class Unavailable(Exception):
    """The server cannot be used now; the text says why."""


class Cut(Unavailable):
    """The connection broke."""


class Refused(Unavailable):
    """The server answered with an error.

    Attributes:
        code: the first word of the error.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = text.partition(" ")[0]


def left(deadline: float) -> float:
    """Return the seconds that are left.

    Raises:
        TimeoutError: there are none.
    """
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def reason(error: OSError) -> str:
    """Return what went wrong, for people."""
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)
