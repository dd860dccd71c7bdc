"""Restriction lists of smtpd(8): their words, and what each service asks of whom."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPIENT = "smtpd_recipient_restrictions"
RELAY = "smtpd_relay_restrictions"
EARLY = ("smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions")
LATE = ("smtpd_data_restrictions", "smtpd_end_of_data_restrictions")
LISTS = (*EARLY, RELAY, RECIPIENT, *LATE)

CALL = "check_policy_service"
"""The restriction that asks a policy service."""

GUARDS = frozenset(("reject_unauth_destination", "defer_unauth_destination", "reject", "defer"))
"""Restrictions that refuse mail for elsewhere."""

ENDS = frozenset(("permit", "reject", "defer"))
"""Restrictions behind which nothing is asked any more (SMTPD_ACCESS_README)."""

_BRACED = r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}"
_ITEM = re.compile(rf"(?:{_BRACED}|[^\s,{{}}])+")
"""A word ends at a blank or comma outside of braces: ``inline:{ {a = b} }`` is one."""

_WITH_ARGUMENT = re.compile(
    "check_.*|reject_rbl_client|reject_rhsbl_.*|permit_dnswl_client|permit_rhswl_client|sleep"
)


class Step(NamedTuple):
    """A restriction of a list, classes taken apart.

    Attributes:
        name: in lower case.
        argument: what follows it, if it takes one.
        warned: whether warn_if_reject is before it, so that it refuses nobody.
        within: the class that it stands in, empty for the list itself.
    """

    name: str
    argument: str
    warned: bool
    within: str


class View:
    """Postfix's parameters as one of its services has them.

    Attributes:
        classes: the restrictions of each class (RESTRICTION_CLASS_README).
    """

    def __init__(self, values: dict[str, str], classes: dict[str, list[str]]) -> None:
        self._values = values
        self.classes = classes

    def value(self, name: str) -> str:
        """Return a parameter's value, with what it refers to put in; empty if unknown."""
        return self._values.get(name, "")

    def is_set(self, name: str) -> bool:
        """Return whether a parameter is yes."""
        return self.value(name).lower() == "yes"

    def items(self, name: str) -> list[str]:
        """Return the words of a list as they stand there."""
        return self.classes.get(name) or restrictions(self.value(name))

    def steps(self, name: str) -> list[Step]:
        """Return the restrictions of a list or class, those of classes in place of the classes."""
        return list(self._steps(self.items(name), "", (), warned=False))

    def _steps(
        self, items: list[str], within: str, around: tuple[str, ...], *, warned: bool
    ) -> Iterator[Step]:
        words = iter(items)
        warns = warned
        for word in words:
            name = word.lower()
            if name == "warn_if_reject":
                warns = True
                continue
            if word in self.classes and word not in around:
                yield from self._steps(self.classes[word], word, (*around, word), warned=warns)
            else:
                argument = next(words, "") if takes_argument(name) else ""
                yield Step(name, argument, warns, within)
            warns = warned

    def words(self, name: str) -> list[str]:
        """Return the words of a list, those of classes in place of the classes."""
        return list(self._words(self.items(name), ()))

    def _words(self, items: list[str], around: tuple[str, ...]) -> Iterator[str]:
        for word in items:
            if word in self.classes and word not in around:
                yield from self._words(self.classes[word], (*around, word))
            else:
                yield word

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """All values, to tell whether two views are the same."""
        return tuple(sorted(self._values.items()))


def restrictions(value: str) -> list[str]:
    """Return the items of a restriction list; a ``{ ... }`` group is one item."""
    return _ITEM.findall(value)


def spans(value: str) -> list[tuple[int, int]]:
    """Return where each item of a restriction list begins and ends."""
    return [item.span() for item in _ITEM.finditer(value)]


def takes_argument(restriction: str) -> bool:
    """Return whether the item behind a restriction is its argument."""
    return bool(_WITH_ARGUMENT.fullmatch(restriction.lower()))


def called(call: str) -> tuple[str, dict[str, str]]:
    """Return the endpoint of a call and its attributes.

    The call is ``{ unix:..., name=value ... }``; a value with a blank stands in braces of its
    own, ``{ name = value }`` (SMTPD_POLICY_README, "Advanced policy client configuration").
    """
    inner = call[1:-1] if call.startswith("{") else call
    words = _ITEM.findall(re.sub(r"\s*=\s*", "=", inner))
    pairs = (word.strip("{} \t").partition("=") for word in words[1:])
    return (words[0] if words else ""), {name.strip(): value.strip() for name, _, value in pairs}


def policy_call(endpoint: str, seconds: int = 10) -> str:
    """Return what should follow ``check_policy_service``: in trouble, mail is let through.

    Args:
        endpoint: of our service.
        seconds: for which Postfix waits for an answer.
    """
    return f"{{ {endpoint}, default_action=DUNNO, timeout={seconds}s }}"


def packed(items: list[str]) -> str:
    """Return a list in the form in which postconf(1) writes it into master.cf: without blanks.

    Postfix takes a comma for one, in braces too.

    Raises:
        ValueError: there is no such form, as an item has braces within braces.
    """
    tight = [re.sub(r"[\s,]*([{}])[\s,]*", r"\1", item) for item in items]
    if any(item.count("{") > 1 or re.search(r"\s=|=\s", item) for item in tight):
        raise ValueError("braces within braces")
    return ",".join(re.sub(r"[\s,]+", ",", item) for item in tight)
