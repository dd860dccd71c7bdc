"""Lines that somebody took from a mail log, each attempt in them once.

Of an attempt there may be two lines: the policy service's own about its decision, and Postfix's
about the refusal that followed.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.logs.clock import Clock
from greylist.commands.logs.layout import split
from greylist.commands.logs.refusal import decision, find_refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.commands.logs.refusal import Refusal
    from greylist.protocol import Request

_TOGETHER = 5
"""Seconds between the two lines about one attempt, at most."""


class Pasted(NamedTuple):
    """An attempt.

    Attributes:
        request: what the policy service was asked, or would have been.
        refusal: what became of it, if Postfix told of a refusal.
        decided: whether a policy service told of its decision.
    """

    request: Request
    refusal: Refusal | None
    decided: bool


def attempts(lines: Iterable[bytes]) -> list[Pasted]:
    """Return the attempts of which lines tell; other lines are passed over."""
    found: list[Pasted] = []
    half: dict[tuple[bytes, ...], tuple[int, int | None]] = {}
    clock = Clock(time.time())
    for line in lines:
        parts = split(line)
        text = parts[2] if parts else line
        pasted = _pasted(text)
        if pasted is None:
            continue
        moment = None
        if parts:
            try:
                moment = clock.seconds(clock.read(parts[0]))
            except ValueError:
                pass
        who = _who(pasted.request)
        place, earlier = half.pop(who, (-1, None))
        if place >= 0 and _is_other_half(found[place], pasted, earlier, moment):
            found[place] = _joined(found[place], pasted)
            continue
        half[who] = (len(found), moment)
        found.append(pasted)
    return found


def _pasted(text: bytes) -> Pasted | None:
    if request := decision(text):
        return Pasted(request, None, True)
    if refusal := find_refusal(text):
        return Pasted(refusal.request, refusal, False)
    return None


def _who(request: Request) -> tuple[bytes, ...]:
    names = (b"client_address", b"sender", b"recipient")
    return tuple(request.get(name, b"").lower() for name in names)


def _is_other_half(one: Pasted, two: Pasted, earlier: int | None, later: int | None) -> bool:
    """Return whether one of these lines is the policy service's, the other one Postfix's."""
    if one.decided == two.decided:
        return False
    return earlier is None or later is None or abs(later - earlier) <= _TOGETHER


def _joined(one: Pasted, two: Pasted) -> Pasted:
    """Return what both halves tell; Postfix's has more."""
    refusal = one.refusal or two.refusal
    assert refusal
    return Pasted(refusal.request, refusal, True)
