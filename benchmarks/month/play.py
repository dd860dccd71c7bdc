"""The month, played to one who answers: what is through, when, and what never."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.month.message import Attempt, Message

    Ask = Callable[[Attempt, Message, str, str], bool]
    """Whether this recipient is let through now; the last argument is the session's instance."""

    Tell = Callable[[int, str, str], None]
    """That one of our users writes to somebody now: the time, the user, the other."""

HARD_ERROR_LIMIT = 20
"""Errors after which Postfix hangs up, so that nothing of a session is delivered (postconf(5),
``smtpd_hard_error_limit``); each deferred recipient is one."""


class Delivery(NamedTuple):
    """A message for one recipient.

    Attributes:
        kind: the message's.
        bot: whether it should not have been let through.
        at: of the first attempt, in seconds since the month's start.
        delay: seconds from the first attempt to the one that was let through; nothing if none was.
    """

    kind: str
    bot: bool
    at: int
    delay: int | None


def play(messages: Sequence[Message], ask: Ask, tell: Tell | None = None) -> list[Delivery]:
    """Return what becomes of the messages.

    Args:
        messages: each with all the attempts that would be made.
        ask: who decides.
        tell: who hears of our users' own mail.
    """
    events = [
        (attempt.at, number, index)
        for number, message in enumerate(messages)
        for index, attempt in enumerate(message.attempts)
    ]
    if tell:
        events += [(one.asked, number, -1) for number, one in enumerate(messages) if one.asked]
    pending = [list(message.recipients) for message in messages]
    found = []
    for at, number, index in sorted(events):
        message = messages[number]
        if index < 0:
            assert tell
            tell(at, message.recipients[0], message.sender)
            continue
        attempt, left = message.attempts[index], pending[number]
        delay = at - message.attempts[0].at
        for recipient in _session(attempt, message, left, f"{number:x}.{index:x}", ask):
            left.remove(recipient)
            found.append(Delivery(message.kind, message.bot, at - delay, delay))
    for message, left in zip(messages, pending, strict=True):
        first = message.attempts[0].at
        found += [Delivery(message.kind, message.bot, first, None) for _ in left]
    return found


def _session(
    attempt: Attempt, message: Message, left: list[str], instance: str, ask: Ask
) -> list[str]:
    """Return the recipients for whom a session delivers the message."""
    through, errors = [], 0
    for recipient in left:
        if ask(attempt, message, recipient, instance):
            through.append(recipient)
            continue
        errors += 1
        if errors == HARD_ERROR_LIMIT:
            return []
    return through


class Figures:
    """What became of deliveries.

    Attributes:
        count: how many there were.
        delays: of those that were let through later than at once, in seconds, in order.
        lost: how many were never let through.
    """

    def __init__(self, deliveries: Sequence[Delivery]) -> None:
        self.count = len(deliveries)
        self.delays = sorted(one.delay for one in deliveries if one.delay)
        self.lost = sum(one.delay is None for one in deliveries)

    @property
    def delayed(self) -> float:
        """The share that did not pass at once, those lost included."""
        return (len(self.delays) + self.lost) / max(self.count, 1)

    @property
    def through(self) -> float:
        """The share that was let through."""
        return 1 - self.lost / max(self.count, 1)

    def quantile(self, share: float) -> int:
        """Return the delay, in seconds, that this share of those delayed did not exceed."""
        if not self.delays:
            return 0
        return self.delays[min(int(share * len(self.delays)), len(self.delays) - 1)]
