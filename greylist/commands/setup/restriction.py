"""Where in a restriction list the policy service is asked; no file is read or written here.

The rules are those of Postfix's SMTPD_POLICY_README (after ``reject_unauth_destination``, or the
host becomes an open relay) and SMTPD_ACCESS_README (what follows a ``permit`` is never asked).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from greylist.commands.check.postconf import called

if TYPE_CHECKING:
    from collections.abc import Callable

FRESH = ["permit_mynetworks", "permit_sasl_authenticated", "reject_unauth_destination"]
"""What every host has before the policy service that has no list of its own (README.md)."""

ENDS = ("permit", "reject", "defer")
GUARDS = frozenset(("reject_unauth_destination", "defer_unauth_destination", "reject"))
_PLAIN = frozenset((*FRESH, "defer_unauth_destination"))


class CannotTell(ValueError):
    """No place in this list is certainly right."""


def effective(items: list[str]) -> list[str]:
    """Return the restrictions that are more than a warning, in lower case."""
    pairs = itertools.pairwise(["", *map(str.lower, items)])
    return [item for before, item in pairs if before != "warn_if_reject"]


def asks(items: list[str], is_ours: Callable[[str], bool]) -> int | None:
    """Return where a list's item ``check_policy_service`` stands that asks such an endpoint."""
    for number in range(len(items) - 1):
        policy = items[number].lower() == "check_policy_service"
        if policy and is_ours(called(items[number + 1])[0]):
            return number
    return None


def inserted(items: list[str], relay: list[str], call: str) -> list[str]:
    """Return a recipient list with our call in it, at the end of what may refuse or permit.

    Args:
        items: smtpd_recipient_restrictions as it stands, or empty.
        relay: smtpd_relay_restrictions, with classes and parameters replaced by what is in them.
        call: what follows ``check_policy_service``.

    Raises:
        CannotTell: the list is none in which the right place is certain.
    """
    relayed = not GUARDS.isdisjoint(effective(relay))
    if not items:
        if not relayed:
            raise CannotTell("smtpd_relay_restrictions refuses nobody")
        return [*_fresh(relay), "check_policy_service", call]
    if any("$" in item for item in items):
        raise CannotTell("it refers to other parameters")
    lower = [item.lower() for item in items]
    end = next((n for n, item in enumerate(lower) if _ends(lower, n)), len(items))
    if "permit_auth_destination" in lower[:end]:
        raise CannotTell("permit_auth_destination lets our own mail through before its end")
    if GUARDS.isdisjoint(effective(items[:end])) and not relayed:
        raise CannotTell("nothing in it refuses mail for elsewhere (reject_unauth_destination)")
    late = [n for n in range(end, len(items)) if lower[n] == "reject_unlisted_recipient"]
    if late:
        raise CannotTell(f"reject_unlisted_recipient stands behind {items[end]}")
    return [*items[:end], "check_policy_service", call, *items[end:]]


def _ends(items: list[str], number: int) -> bool:
    """Return whether nothing behind this item is asked any more."""
    warned = number > 0 and items[number - 1] == "warn_if_reject"
    return items[number] in ENDS and not warned


def _fresh(relay: list[str]) -> list[str]:
    """Return a list for a host that has none: whom the relay list permits is not greylisted."""
    if _PLAIN.issuperset(map(str.lower, relay)):
        return [*FRESH, "reject_unlisted_recipient"]
    # Its defer_unauth_destination has refused already whatever it refuses.
    return [*relay, "reject_unlisted_recipient"]


def replaced(items: list[str], number: int, call: str) -> list[str]:
    """Return the list with another call in the place of the one there."""
    return [*items[: number + 1], call, *items[number + 2 :]]


def without(items: list[str], number: int) -> list[str]:
    """Return the list without the call there; empty when what is left is what a set-up wrote."""
    rest = items[:number] + items[number + 2 :]
    return [] if rest == [*FRESH, "reject_unlisted_recipient"] else rest
