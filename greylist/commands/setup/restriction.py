"""Where in a restriction list the policy service is asked; no file is read or written here.

The rules are those of Postfix's SMTPD_POLICY_README (after ``reject_unauth_destination``, or the
host becomes an open relay) and SMTPD_ACCESS_README (what follows a ``permit`` is never asked).
A list is a text, and stays as it is but for the call: what was put in can be taken out again.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from greylist.commands.postfix.restrictions import (
    CALL,
    ENDS,
    GUARDS,
    called,
    restrictions,
    spans,
    takes_argument,
)

if TYPE_CHECKING:
    from collections.abc import Callable

FRESH = ["permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination"]
"""The restrictions before the policy service on a host that has no list of its own (README.md)."""

_PLAIN = frozenset((*FRESH, "defer_unauth_destination"))
_TABLE = re.compile(r"\w+:")


class CannotTell(ValueError):
    """No place in this list is certainly right."""


def effective(items: list[str]) -> list[str]:
    """Return the restrictions that are more than a warning, in lower case."""
    pairs = itertools.pairwise(["", *map(str.lower, items)])
    return [item for before, item in pairs if before != "warn_if_reject"]


def asks(text: str, is_ours: Callable[[str], bool]) -> int | None:
    """Return where a list's item ``check_policy_service`` stands that asks such an endpoint."""
    for number, (item, argument) in enumerate(itertools.pairwise(restrictions(text))):
        if item.lower() == CALL and is_ours(called(argument)[0]):
            return number
    return None


def inserted(text: str, relay: list[str], call: str) -> str:
    """Return a recipient list with our call in it, at the end of what may refuse or permit.

    Args:
        text: smtpd_recipient_restrictions as it stands, or empty.
        relay: smtpd_relay_restrictions, with classes and parameters replaced by what is in them.
        call: what follows ``check_policy_service``.

    Raises:
        CannotTell: the list is none in which the right place is certain.
    """
    relayed = is_guarded(relay)
    items = restrictions(text)
    if not items:
        if not relayed:
            raise CannotTell("smtpd_relay_restrictions refuses nobody")
        return f"{fresh(relay)} {CALL} {call}"
    if any(map(_is_reference, ["", *items], items)):
        raise CannotTell("it refers to other parameters")
    lower = [item.lower() for item in items]
    end = next((n for n in range(len(items)) if _ends(lower, n)), len(items))
    if "permit_auth_destination" in lower[:end]:
        raise CannotTell("permit_auth_destination lets our own mail through before its end")
    if not is_guarded(items[:end]) and not relayed:
        raise CannotTell("nothing in it refuses mail for elsewhere (reject_unauth_destination)")
    late = [n for n in range(end, len(items)) if lower[n] == "reject_unlisted_recipient"]
    if late:
        raise CannotTell(f"reject_unlisted_recipient stands behind {items[end]}")
    return _put(text, end, f"{CALL} {call}")


def is_guarded(items: list[str]) -> bool:
    """Return whether a list refuses mail for elsewhere."""
    return not GUARDS.isdisjoint(effective(items))


def _is_reference(before: str, item: str) -> bool:
    """Return whether an item may be any restriction: a parameter that is no table's name."""
    return "$" in item and not takes_argument(before) and not _TABLE.match(item)


def _ends(items: list[str], number: int) -> bool:
    """Return whether nothing behind this item is asked any more."""
    warned = number > 0 and items[number - 1] == "warn_if_reject"
    return items[number] in ENDS and not warned


def _put(text: str, number: int, words: str) -> str:
    """Return a list that is not empty with words before an item, or at its end."""
    places = spans(text)
    between = (
        ", " if any("," in text[a:b] for (_, a), (b, _) in itertools.pairwise(places)) else " "
    )
    if number == len(places):
        end = places[-1][1]
        return f"{text[:end]}{between}{words}{text[end:]}"
    start = places[number][0]
    return f"{text[:start]}{words}{between}{text[start:]}"


def fresh(relay: list[str]) -> str:
    """Return a list for a host that has none: whom the relay list permits is not greylisted."""
    # A defer_unauth_destination of its own has refused already whatever it refuses.
    items = FRESH if _PLAIN.issuperset(map(str.lower, relay)) else relay
    return " ".join([*items, "reject_unlisted_recipient"])


def replaced(text: str, number: int, call: str) -> str:
    """Return the list with another call in the place of the one there."""
    start, end = spans(text)[number + 1]
    return text[:start] + call + text[end:]


def without(text: str, number: int) -> str:
    """Return the list without the call there."""
    places = spans(text)
    if number:
        return text[: places[number - 1][1]] + text[places[number + 1][1] :]
    rest = places[2:]
    return text[rest[0][0] :] if rest else ""
