"""What Postfix writes to the mail log, as far as a policy service cares.

The lines are those of smtpd(8), cleanup(8), qmgr(8) and the delivery agents, in the classic
format of syslog (``Nov  2 10:00:00 host postfix/smtpd[1]: text``) or with an ISO 8601 time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greylist.protocol import Request

REJECT = re.compile(
    rb"reject: RCPT from (?P<name>[^\[\s]*)\[(?P<address>[^\]]*)\](?::\d+)?: "
    rb"(?P<code>\d{3})[ -](?P<text>.*); "
    rb"from=<(?P<sender>.*?)> to=<(?P<recipient>.*?)>(?: proto=\S*)?(?: helo=<(?P<helo>.*)>)?"
)
"""smtpd(8) refusing a recipient."""

_DECISION = re.compile(rb"\baction=(?:greylist|pass), reason=")
_ATTRIBUTE = re.compile(rb"(?:^|, )(client_name|client_address|sender|recipient)=([^,\s]*)")


def request_of(line: bytes) -> Request | None:
    """Return the policy request behind a line of the log, or nothing.

    A refused recipient of smtpd(8) will do, and a decision that greylist or postgrey logged.
    """
    if found := REJECT.search(line):
        return request(**{key: value or b"" for key, value in found.groupdict().items()})
    if _DECISION.search(line):
        attributes = dict(_ATTRIBUTE.findall(line))
        return {b"request": b"smtpd_access_policy", **attributes}
    return None


def request(
    name: bytes, address: bytes, sender: bytes, recipient: bytes, helo: bytes = b"", **_: bytes
) -> Request:
    """Return the policy request that smtpd(8) would have sent."""
    return {
        b"request": b"smtpd_access_policy",
        b"protocol_state": b"RCPT",
        b"client_address": address,
        b"client_name": name,
        b"helo_name": helo,
        b"sender": sender,
        b"recipient": recipient,
    }
