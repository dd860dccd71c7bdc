"""The doctor on each smtpd(8): does it ask us, and at the right place.

The order is Postfix's (SMTPD_ACCESS_README): client, helo, sender, relay, recipient, each list
ended by its first permit; smtpd_relay_before_recipient_restrictions puts relay last when it is no.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from greylist.commands.check.report import Finding
from greylist.commands.postfix.restrictions import (
    CALL,
    EARLY,
    ENDS,
    GUARDS,
    LATE,
    LISTS,
    RECIPIENT,
    RELAY,
    View,
    called,
    packed,
    takes_argument,
)
from greylist.settings import SettingsError, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.commands.check.host import Host
    from greylist.commands.check.report import Findings
    from greylist.commands.postfix.restrictions import Step

_ENDS = ENDS | {"permit_auth_destination"}
"""Restrictions behind which nothing is asked about mail for us."""

_LISTED = frozenset(("reject_unlisted_recipient", "reject_unverified_recipient"))
_OWN = frozenset(
    (
        *("permit_mynetworks", "permit_sasl_authenticated", "permit_inet_interfaces"),
        *("permit_tls_clientcerts", "permit_tls_all_clientcerts"),
    )
)
"""Restrictions that let our own users through."""

_TABLE = re.compile("check_[a-z_]+_access")
_STATIC = re.compile(r"static:\{?\s*(ok|permit|permit_auth_destination|\d+)\s*\}?", re.IGNORECASE)


class Doctor:
    """Looks at the parameters of one smtpd, or of several that have the same."""

    def __init__(self, host: Host, view: View, title: str) -> None:
        """Args: host: the services; view: the parameters; title: of an smtpd that sets its own."""
        self._host = host
        self._view = view
        self._title = title
        self._subject = "master.cf" if title else "main.cf"

    def findings(self) -> Findings:
        """Yield the findings, each with the command that mends it."""
        asking = [name for name in LISTS if self._position(name) is not None]
        for name in asking:
            yield from self._place(name)
            if name not in LATE:
                yield from self._call(name)
        if not asking:
            yield from self._by_table()

    def _is_ours(self, step: Step) -> bool:
        return step.name == CALL and self._host.is_ours(called(step.argument)[0])

    def _position(self, name: str) -> int | None:
        steps = self._view.steps(name)
        return next((n for n, step in enumerate(steps) if self._is_ours(step)), None)

    def _endpoint(self, name: str) -> str:
        """Return where a list asks us, or should."""
        place = self._position(name)
        if place is None:
            return self._host.endpoint
        return called(self._view.steps(name)[place].argument)[0]

    def _found(self, level: str, text: str, remedy: str = "") -> Finding:
        return Finding(
            level, self._subject, f"{self._title}: {text}" if self._title else text, remedy
        )

    def _place(self, name: str) -> Findings:
        """Yield whether a list asks us at the right place."""
        steps = self._view.steps(name)
        place = self._position(name)
        assert place is not None
        before, ours = steps[:place], steps[place]
        endpoint = called(ours.argument)[0]
        asks = f"{name} asks {endpoint}"
        end = next((step for step in before if _ends(step)), None)
        if end:
            shown = end.name if end.name in _ENDS else f"{end.name} {end.argument}"
            why = "where nothing is asked any more"
            if end.name == "permit_auth_destination":
                why = "which lets through all mail that is for us"
            yield self._found("error", f"{asks} after {shown}, {why}", self._mended(name))
        elif ours.warned:
            text = f"{asks} after warn_if_reject, so nobody is ever deferred"
            yield self._found("error", text, self._mended(name))
        elif name in LATE:
            text = f"{asks}, where mail to several has no recipient"
            yield self._found("warning", text, self._moved(name))
        elif name in EARLY:
            yield self._early(name, asks)
        else:
            yield from self._beside(name, asks, before)

    def _early(self, name: str, asks: str) -> Finding:
        if not self._view.is_set("smtpd_delay_reject"):
            text = f"{asks}, where with smtpd_delay_reject = no no recipient is known"
            return self._found("error", text, self._moved(name))
        text = f"{asks}, before the relay check: strangers fill the database"
        return self._found("warning", text, self._moved(name))

    def _beside(self, name: str, asks: str, before: list[Step]) -> Findings:
        """Yield a finding for each restriction that should stand before our call and does not."""
        relay_first = self._view.is_set("smtpd_relay_before_recipient_restrictions")
        earlier = [step for early in EARLY for step in self._view.steps(early)]
        if name == RECIPIENT and relay_first:
            earlier += self._view.steps(RELAY)
        sound = True
        if not _guards(before) and not _guards(self._view.steps(RELAY)):
            sound = False
            text = f"{asks} before reject_unauth_destination: an open relay is near"
            yield self._found("error", text, self._mended(name))
        elif not _guards([*earlier, *before]):
            sound = False
            text = (
                f"{asks} with no reject_unauth_destination before it: strangers fill the database"
            )
            yield self._found("warning", text, self._mended(name))
        names = {step.name for step in before if not step.warned}
        permits = self._permits(self._endpoint(name))
        missing = [permit for permit in permits if permit not in names]
        if missing:
            sound = False
            text = f"{asks} with no {' and '.join(missing)} before it: own users wait"
            yield self._found("warning", text, self._mended(name))
        if not {step.name for step in [*earlier, *before] if not step.warned} & _LISTED:
            sound = False
            text = f"{asks} with no reject_unlisted_recipient before it: mail to unknown users"
            yield self._found("warning", f"{text} waits, and is stored", self._mended(name))
        if sound:
            yield self._found("ok", f"{asks}, after the relay check")

    def _permits(self, endpoint: str) -> list[str]:
        """Return the restrictions that have to let our own users through before our call.

        With ``learn_replies`` there are none: we are asked about their mail too.
        """
        if self._host.settings(endpoint).learn_replies:
            return []
        sasl = self._view.is_set("smtpd_sasl_auth_enable")
        return ["permit_mynetworks", *(["permit_sasl_authenticated"] if sasl else [])]

    def _by_table(self) -> Findings:
        """Yield the finding about restriction classes that ask us, where no list does itself."""
        tables = [
            name
            for name in LISTS
            if any(_TABLE.fullmatch(step.name) for step in self._view.steps(name))
        ]
        asking = [name for name in self._view.classes if self._asks_itself(name)]
        if not (asking and tables):
            text = f"nothing asks {self._host.endpoint}"
            if self._title:
                text += ", so mail that comes there is not greylisted"
            yield self._found("error", text, self._mended(RECIPIENT))
            return
        for name in asking:
            text = f"{name} asks {self._host.endpoint}, for whom a table in {tables[0]} names it"
            yield self._found("ok", text)
            yield from self._call(name)

    def _asks_itself(self, name: str) -> bool:
        steps = self._view.steps(name)
        return any(self._is_ours(step) and not step.within for step in steps)

    def _call(self, name: str) -> Findings:
        """Yield the findings about the attributes of our call in a list or class."""
        step = self._view.steps(name)[self._position(name) or 0]
        _, attributes = called(step.argument)

        def get(attribute: str) -> str:
            return attributes.get(attribute) or self._view.value(
                f"smtpd_policy_service_{attribute}"
            )

        remedy = self._asked_well(step.within or name)
        if not get("default_action").upper().startswith("DUNNO"):
            text = f"{name}: in trouble Postfix answers {get('default_action')!r}"
            yield self._found("warning", text, f"To let mail through then:\n{remedy}")
        try:
            timeout = parse_time(get("timeout"))
        except SettingsError:
            return
        patience = self._host.settings(called(step.argument)[0]).lock_timeout
        if timeout <= patience:
            text = f"{name}: Postfix waits {timeout}s, no longer than lock_timeout"
            text += f" ({patience}s), so the filter cannot say why"
            yield self._found("warning", text, f"Set lock_timeout lower, or:\n{remedy}")
        elif timeout > 60:
            text = f"{name}: a client waits {timeout}s when the filter hangs"
            yield self._found("warning", text, remedy)

    def _set(self, name: str, items: list[str]) -> str:
        """Return the command that sets a list or class."""
        if self._title and name in LISTS:
            try:
                value = packed(items)
            except ValueError as error:
                words = f"By hand, as postconf cannot write {error}: in master.cf, {self._title}"
                return f"{words}, {name} = {' '.join(items)}."
            return self._host.postfix.shell("postconf", "-P", f"{self._title}/{name}={value}")
        return self._host.postfix.shell("postconf", f"{name} = {' '.join(items)}")

    def _asked_well(self, name: str) -> str:
        """Return the command that has a list or class ask us as it should."""
        return self._set(name, list(self._items(name)))

    def _items(self, name: str) -> Iterator[str]:
        """Yield the words of a list, ours being asked by the best call."""
        words = iter(self._view.items(name))
        for word in words:
            yield word
            if word.lower() == CALL:
                given = next(words, "")
                endpoint = called(given)[0]
                yield self._host.call(endpoint) if self._host.is_ours(endpoint) else given

    def _asks_us(self, word: str) -> bool:
        """Return whether a word of a list is a class that asks us."""
        return word in self._view.classes and self._position(word) is not None

    def _parts(self, name: str) -> tuple[list[list[str]], list[list[str]]]:
        """Return a list's restrictions, each with its words: the others, and those that ask us."""
        others: list[list[str]] = []
        ours: list[list[str]] = []
        warn: list[str] = []
        words = iter(self._view.items(name))
        for word in words:
            if word.lower() == "warn_if_reject":
                warn = [word]
                continue
            part = [*warn, word]
            if takes_argument(word):
                part.append(next(words, ""))
            if word.lower() == CALL and self._host.is_ours(called(part[-1])[0]):
                ours.append(part[-2:])
            elif self._asks_us(word):
                ours.append([word])
            else:
                others.append(part)
            warn = []
        return others, ours

    def _mended(self, name: str) -> str:
        """Return the command that has a list ask us after all that belongs before us."""
        others, ours = self._parts(name)
        call = ours or [[CALL, self._host.call()]]
        wanted = [
            *self._permits(self._endpoint(name)),
            "reject_unauth_destination",
            "reject_unlisted_recipient",
        ]
        have = {part[0].lower() for part in others}
        front = [part for part in others if not _is_end(part)]
        back = [part for part in others if _is_end(part)]
        permits = [[word] for word in wanted if word not in have and word.startswith("permit")]
        guards = [[word] for word in wanted if word not in have and word.startswith("reject")]
        once = [part for place, part in enumerate(call) if part not in call[:place]]
        parts = [*permits, *front, *guards, *once, *back]
        return self._set(name, [word for part in parts for word in part])

    def without(self, name: str, endpoint: str) -> str:
        """Return the command that has a list or class ask a service no more; empty if it does not.

        Args:
            name: the list's or the class's.
            endpoint: the service, not ours.
        """
        kept: list[str] = []
        found = False
        words = iter(self._view.items(name))
        for word in words:
            argument = next(words, "") if word.lower() == CALL else ""
            if argument and called(argument)[0] == endpoint:
                found = True
                if kept and kept[-1].lower() == "warn_if_reject":
                    kept.pop()
            else:
                kept += [word, *([argument] if argument else [])]
        return self._set(name, kept) if found else ""

    def _moved(self, name: str) -> str:
        """Return the commands that ask us in the recipient list, and no more in this one."""
        others, _ = self._parts(name)
        here = self._set(name, [word for part in others for word in part])
        return f"{self._mended(RECIPIENT)}\n{here}"


def _ends(step: Step) -> bool:
    """Return whether nothing after a restriction is asked about mail for us."""
    if step.name in {"reject", "defer"}:
        return not step.warned
    return step.name in _ENDS or bool(
        _TABLE.fullmatch(step.name) and _STATIC.fullmatch(step.argument)
    )


def _is_end(part: list[str]) -> bool:
    return part[0].lower() in _ENDS or bool(len(part) > 1 and _STATIC.fullmatch(part[-1]))


def _guards(steps: list[Step]) -> bool:
    """Return whether these restrictions let no mail through that is for elsewhere."""
    return any(step.name in GUARDS and not step.warned for step in steps)


def refuses_strangers(view: View) -> bool:
    """Return whether an smtpd takes mail from our own users alone, as at a port for submission."""
    return any(_is_closed(view.steps(name)) for name in (*EARLY, RELAY, RECIPIENT))


def _is_closed(steps: list[Step]) -> bool:
    for step in steps:
        if step.name in {"reject", "defer"} and not step.warned:
            return True
        if step.name not in _OWN and not step.name.startswith(("reject_", "defer_")):
            return False
    return False
