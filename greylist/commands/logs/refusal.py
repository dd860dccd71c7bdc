"""A refused recipient in the log, who refused it, and a policy service's own line about it.

The forms are those of ``log_whatsup`` in Postfix's smtpd(8), of cleanup(8) for a milter, and of
postscreen(8), which puts commas between the parts:

    reject: RCPT from NAME[ADDRESS]: 450 4.2.0 <SUBJECT>: TEXT; from=<> to=<> proto= helo=<>
    milter-reject: END-OF-MESSAGE from NAME[ADDRESS]: 4.7.1 TEXT; from=<> to=<> proto= helo=<>

From Postfix 3.10 on ``sasl_method= sasl_username= sasl_sender=`` follow if there was a login. What
a newer one may add behind that is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from greylist import log

if TYPE_CHECKING:
    from greylist.protocol import Request

ADDRESS = rb'(?:(?!")[^>]*|"(?:[^"\\]|\\.)*"[^>"]*)'
"""An address between ``<`` and ``>``; within the quotes of a local part anything may stand."""

CLIENT = rb"(?P<name>[^\[\s]*)\[(?P<address>[^\]]*)\](?::\w+)?"
"""A client's verified name, or ``unknown``; its address; and its port if that is logged."""

_REFUSAL = re.compile(
    rb"(?P<kind>(?:milter-)?reject(?P<warning>_warning)?): (?P<stage>[A-Z-]+) from "
    + CLIENT
    + rb": "
    rb"(?P<reply>(?:(?P<code>\d{3})[ -])?(?:(?P<status>[245]\.\d{1,3}\.\d{1,3}) )?"
    rb"(?>(?:<" + ADDRESS + rb">: )?)(?P<words>[^;]*+(?:;[^;]*+)*?));"
    rb"(?: from=<(?P<sender>" + ADDRESS + rb")>(?P<comma>,)?)?"
    rb"(?: to=<(?P<recipient>" + ADDRESS + rb")>,?)?"
    rb"(?: proto=[^\s,]*,?)?(?: helo=<(?P<helo>[^<>]*)>)?"
    rb"(?: sasl_method=\S*)?(?: sasl_username=(?P<login>.*?))?(?: sasl_sender=\S*)?"
    rb"(?: [a-z_]+=\S*)*\]?\s*$"
)
_GROUPS = ("name", "address", "sender", "recipient", "helo", "login")
_ABOUT = ("kind", "warning", "stage", "comma", "code", "status", "reply", "words")
_OF_MESSAGES = frozenset((b"DATA", b"BDAT", b"END-OF-MESSAGE"))
_MOST = 16_384
"""Bytes of a line that are looked at; Postfix cuts its own lines at 2,000."""

_DECISION = re.compile(rb"\baction=(?:greylist|pass), reason=")
_SQLGREY = re.compile(
    rb"\bgrey: (?:new|early reconnect|reconnect ok|throttling): "
    rb"[^\s()]+\((?P<address>[^\s()]+)\), (?P<sender>.*) -> (?P<recipient>\S+)"
    rb"(?: \([\d:. ]+\))?\s*$"
)
_SQLGREY_LISTED = re.compile(
    rb"\bwhitelist: (?P<sender>.*), (?P<address>[^\s()]+)\((?P<name>[^\s()]*)\)"
    rb" -> (?P<recipient>\S+)\s*$"
)
_UNDEFINED = b"-undef-"
"""sqlgrey's word for the user or the domain that a sender does not have."""

_ATTRIBUTE = re.compile(rb"(?:^|, )(client_name|client_address|sender|recipient)=(\S*?)(?=, |\s|$)")

_BLOCKLIST = re.compile(rb"blocked using (?P<list>[^\s;,]+)")
_POSTFIX = (
    b"cannot find your ", b"relay access denied", b"temporary lookup failure",
    b"invalid ip address", b"invalid name", b"need fully-qualified ", b"host not found",
    b"domain ", b"malformed ", b"improper use of smtp ", b"unable to look up ",
    b"unable to verify ", b"address verification ", b"unverified ", b"undeliverable ",
    b"access denied", b"defer_if_permit ", b"defer_if_reject ", b"not owned by user ",
    b"not logged in", b"multi-recipient bounce", b"user unknown", b"recipient unknown",
    b"unknown user", b"unknown recipient", b"server configuration ", b"mailbox full",
    b"mailbox size ", b"insufficient system storage", b"queue file ", b"bad sender ",
    b"bad recipient ", b"bad address ", b"too many ", b"too much ", b"message size ",
    b"message content ", b"tls is required", b"must issue a starttls ", b"internal error",
    b"policy rejection", b"spf ", b"message rejected due to: spf", b"message deferred due to: spf",
)  # fmt: skip
"""What Postfix's own restrictions say, and policy services that know no greylisting."""

_GREYLISTERS = ("", "a milter")
_AWAY = re.compile(rb"Service unavailable - try again later")
"""What Postfix says for a milter that is away (``milter_default_action``)."""


class Refusal(NamedTuple):
    """A refused recipient.

    Attributes:
        request: what a policy service would have been asked.
        reply: what the client was told, with its code.
        temporary: whether the client may try again.
        warning: whether it was only warned of (``warn_if_reject``).
        whole: whether it was the message with all of its recipients, of which at most one is told.
        agent: ``smtpd``, ``a milter`` or ``postscreen``.
        words: the reply without its code and what it is about.
    """

    request: Request
    reply: bytes
    temporary: bool
    warning: bool
    whole: bool
    agent: str
    words: bytes

    @property
    def by(self) -> str:
        """Who refused, in words; empty if it may have been a policy service or an access table."""
        if self.agent != "smtpd":
            return "Postfix itself" if _AWAY.match(self.words) else self.agent
        if b" blocked " in self.words and (blocklist := _BLOCKLIST.search(self.words)):
            return f"the blocklist {blocklist['list'].decode(errors='backslashreplace')}"
        words = self.words.rpartition(b" rejected: ")[2].lower().removeprefix(b"error: ")
        return "Postfix itself" if words.startswith(_POSTFIX) else ""

    @property
    def is_greylisting(self) -> bool:
        """Whether the client was asked to come back by a program that may have been greylisting."""
        return self.temporary and not self.warning and self.by in _GREYLISTERS


def request(
    name: bytes, address: bytes, sender: bytes, recipient: bytes, helo: bytes = b""
) -> Request:
    """Return the policy request that smtpd(8) would have sent; addresses as the log has them."""
    return {
        b"request": b"smtpd_access_policy",
        b"protocol_state": b"RCPT",
        b"client_address": address,
        b"client_name": name,
        b"helo_name": helo,
        b"sender": unquote(sender),
        b"recipient": unquote(recipient),
        b"etrn_domain": b"",  # by which the policy knows a Postfix that is not ancient
    }


def unquote(address: bytes) -> bytes:
    """Return an address as a request has it: without the quotes around its local part.

    The log has the external form (``info_log_addr_form``), ``"john doe"@example.net``; a
    request has the internal one.
    """
    if not address.startswith(b'"'):
        return address
    local, quote, domain = address[1:].rpartition(b'"')
    if not quote or not (domain.startswith(b"@") or not domain):
        return address
    return re.sub(rb"\\(.)", rb"\1", local, flags=re.DOTALL) + domain


def refusal(text: bytes, start: int = 0) -> Refusal | None:
    """Return the refusal of which a program told, or None.

    Args:
        text: what Postfix said; what a syslog daemon adds to repeated lines may follow.
        start: where ``reject:`` stands in it.
    """
    found = _REFUSAL.match(text, start) if len(text) <= _MOST else None
    if found is None:
        return None
    name, address, sender, recipient, helo, login = found.group(*_GROUPS)
    asked = request(name, address, sender or b"", recipient or b"", helo or b"")
    if login:
        asked[b"sasl_username"] = login
    kind, warning, stage, comma, code, status, reply, words = found.group(*_ABOUT)
    temporary = (code or status or b"").startswith(b"4")
    agent = "a milter" if kind.startswith(b"milter") else "postscreen" if comma else "smtpd"
    whole = stage in _OF_MESSAGES
    return Refusal(asked, reply, temporary, bool(warning), whole, agent, words)


def find_refusal(line: bytes) -> Refusal | None:
    """Return the refusal that stands anywhere in a line, which may be cut from a log."""
    place = line.find(b"reject")
    while place >= 0:
        start = place - 7 if line[:place].endswith(b"milter-") else place
        if found := refusal(line, start):
            return found
        place = line.find(b"reject", place + 1)
    return None


def decision(text: bytes) -> Request | None:
    """Return the request behind a decision that greylist, postgrey or sqlgrey logged, or None."""
    if found := _SQLGREY.search(text[:_MOST]) or _SQLGREY_LISTED.search(text[:_MOST]):
        return _of_sqlgrey(found.groupdict())
    if not _DECISION.search(text[:_MOST]):
        return None
    attributes = {name: log.unquote(value) for name, value in _ATTRIBUTE.findall(text[:_MOST])}
    if b"client_address" in attributes:  # postgrey may have the network: 192.0.2.1/32
        attributes[b"client_address"] = attributes[b"client_address"].partition(b"/")[0]
    return {b"request": b"smtpd_access_policy", **attributes}


def _of_sqlgrey(values: dict[str, bytes]) -> Request:
    """Return the request of which a line of sqlgrey's tells."""
    user, at, domain = values["sender"].rpartition(b"@")
    sender = b"" if user == _UNDEFINED else user if domain == _UNDEFINED else user + at + domain
    return {
        b"request": b"smtpd_access_policy",
        b"client_address": values["address"],
        b"client_name": values.get("name", b""),
        b"sender": sender,
        b"recipient": values["recipient"],
    }
