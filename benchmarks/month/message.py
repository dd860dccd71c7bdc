"""A message, and the attempts to deliver it."""

from __future__ import annotations

from typing import NamedTuple

MINUTE, HOUR, DAY = 60, 3600, 86400
DAYS = 30

START = 1_999_987_200
"""When the month begins: a midnight in 2033, later than any file that the contenders read."""


class Host(NamedTuple):
    """Whom the server sees.

    Attributes:
        address: in text.
        name: as verified forward and back, or ``unknown``.
        helo: what it calls itself.
    """

    address: str
    name: str
    helo: str


class Attempt(NamedTuple):
    """One SMTP session. ``at``: seconds since the month's start."""

    at: int
    host: Host


class Message(NamedTuple):
    """One message, or what a bot sends.

    Attributes:
        kind: of sender or of bot, as in the tables.
        bot: whether it should not be let through.
        sender: the envelope's.
        recipients: users of ours.
        attempts: in order; all that would be made were it never accepted.
        asked: when the recipient has written to the sender before, in seconds since the month's
            start, or nothing.
    """

    kind: str
    bot: bool
    sender: str
    recipients: tuple[str, ...]
    attempts: tuple[Attempt, ...]
    asked: int | None = None
