"""The rules that need no stored entry: modes, lists, and requests without a delivery.

A list is asked about every address that the recipient may stand for (``recipient``).
"""

from __future__ import annotations

from greylist.client import suspicious
from greylist.decision import PASS, Decision
from greylist.recipient import forms, is_placeless, unextended
from greylist.triplet import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.whitelist.lines import Line
    from greylist.whitelist.matcher import Whitelist

_NO_DELIVERIES = (b"VRFY", b"ETRN")
"""Commands that Postfix asks about, but that deliver nothing (SMTPD_POLICY_README)."""


def screen(
    request: Request,
    settings: Settings,
    whitelists: Sequence[Whitelist],
    only: Sequence[Whitelist] = (),
    *,
    own: bool = False,
) -> Decision | None:
    """Return the decision if it needs no stored entry, else None.

    Args:
        request: the attributes.
        settings: the mode and who is greylisted.
        whitelists: who is never greylisted.
        only: lists of the recipients that are greylisted; without any, all are.
        own: whether it is mail of our own users, which is always remembered.
    """
    if settings.mode == "off":
        return _passed("mode=off")
    decision = _no_delivery(request)
    if decision or own:
        return decision
    return (
        _whitelisted(request, whitelists)
        or _not_listed(request, settings, only)
        or _not_suspicious(request, settings)
    )


def _passed(reason: str, warning: str = "") -> Decision:
    return Decision(PASS, "pass", reason, warning)


def _no_delivery(request: Request) -> Decision | None:
    """Decide on a request that delivers no mail: no entry may be stored for it."""
    if request.get(b"protocol_state") in _NO_DELIVERIES:
        return _passed("no delivery")
    client = request.get(b"client_address")
    if client and request.get(b"recipient"):
        return None
    # Postfix sends no recipient at DATA and END-OF-MESSAGE when the mail has several.
    missing = "recipient" if client else "client_address"
    warning = f"request without {missing}: check_policy_service belongs in "
    warning += "smtpd_recipient_restrictions"
    decision = _passed(f"no {missing}", warning)
    decision.once = True
    return decision


def subjects(request: Request) -> list[tuple[bytes, Request]]:
    """Return the subject and request of each form of the recipient, for the whitelists.

    The subject is ``client_address/sender/recipient`` in lower case. As in a key, a slash in the
    sender or recipient is ``%2f``: none of them can pass for the part that follows.
    """
    client = request[b"client_address"].lower()
    sender = escape(request.get(b"sender", b""))
    return [
        (b"%s/%s/%s" % (client, sender, escape(form)), _with(request, form))
        for form in forms(request[b"recipient"])
    ]


def _with(request: Request, recipient: bytes) -> Request:
    if request[b"recipient"] == recipient:
        return request
    return {**request, b"recipient": recipient}


def is_listed(request: Request, lists: Sequence[Whitelist]) -> tuple[bytes, Line] | None:
    """Return the subject and the line by which a request is on one of these lists, or None.

    Whatever the recipient may stand for has to be on them: a spelling is no way onto a list.
    """
    found = None
    for subject, asked in subjects(request) if lists else ():
        line = _first(lists, subject, asked)
        if line is None:
            return None
        found = subject, line
    return found


def _first(lists: Sequence[Whitelist], subject: bytes, request: Request) -> Line | None:
    for list in lists:
        line = list.match(subject, request)
        if line is not None:
            return line
    return None


def _whitelisted(request: Request, whitelists: Sequence[Whitelist]) -> Decision | None:
    found = is_listed(request, whitelists)
    if found is None:
        return None
    subject, line = found
    about = "recipient" if line.attribute == b"recipient" else "client"
    decision = _passed(f"{about} whitelist")
    decision.key, decision.found = subject, line
    return decision


def _not_listed(request: Request, settings: Settings, only: Sequence[Whitelist]) -> Decision | None:
    """Pass a recipient that is on none of these lists in any form that it may stand for."""
    if not only:
        return None
    for subject, asked in subjects(request):
        recipient = asked[b"recipient"]
        if is_placeless(recipient):
            return None
        for each in mailboxes(recipient, settings):
            if any(list.match(subject, _with(asked, each)) for list in only):
                return None
    return _passed("recipient not in greylist_recipients")


def mailboxes(address: bytes, settings: Settings) -> Iterator[bytes]:
    """Yield an address, without its extension too, and the same user's in other local domains."""
    yield address
    plain = unextended(address, settings.recipient_delimiter)
    yield plain
    # Late, and last: Postfix may have to be asked, and most recipients are listed or placeless.
    from greylist.local_domains import local_domains

    domains, delimiters = local_domains(settings)
    plainer = unextended(address, delimiters)
    yield plainer
    if address.rpartition(b"@")[2] in domains:
        for one in dict.fromkeys((address, plain, plainer)):
            for domain in domains:
                yield one.rpartition(b"@")[0] + b"@" + domain


def _not_suspicious(request: Request, settings: Settings) -> Decision | None:
    if settings.greylist_clients == "all" or suspicious(request, settings):
        return None
    return _passed("client not suspicious")
