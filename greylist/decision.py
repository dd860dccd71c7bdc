"""The decision on a request: the action that Postfix is told, and the reason."""

from __future__ import annotations

PASS = b"dunno"
"""Not ``ok``: the restrictions after ours still apply (Postfix, access(5))."""


class Decision:
    """An action for Postfix, and why.

    Attributes:
        action: the text after ``action=``.
        verdict: ``greylist`` or ``pass``, for the log.
        reason: why, for the log, in postgrey's words where it has any.
        key: the text that was looked up, empty when nothing was.
        found: the value stored before, or the line of a whitelist; empty when there was none.
        stored: the value stored now, empty when nothing was.
        age: seconds since the first attempt.
        warning: what an administrator should know about the request or the entry.
        once: it says something about the configuration, which a process logs once.
    """

    __slots__ = ("action", "age", "found", "key", "once", "reason", "stored", "verdict", "warning")

    def __init__(self, action: bytes, verdict: str, reason: str, warning: str = "") -> None:
        self.action = action
        self.verdict = verdict
        self.reason = reason
        self.warning = warning
        self.key = self.found = self.stored = b""
        self.age = 0
        self.once = False
