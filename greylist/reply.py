"""What the other side sees: the text of a reply, and the header of a message that was delayed."""

from __future__ import annotations

import time

from greylist import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.protocol import Request
    from greylist.settings import Settings

_VISIBLE = bytes(code if 0x20 < code < 0x7F else ord("?") for code in range(256))


def deferral(request: Request, settings: Settings, missing: int) -> bytes:
    """Return the action for a client that has to come back after ``missing`` seconds.

    Postfix from 2.3 on (it sends ``etrn_domain``) would add the status code 4.7.1, which some
    senders take for a refusal; at RCPT TO, 4.2.0 says that it is about the mailbox (RFC 3463,
    sections 3.3 and 3.8).
    """
    text = settings.reply.encode()
    if "%" in settings.reply:
        domain = request[b"recipient"].rpartition(b"@")[2].translate(_VISIBLE)
        text = text.replace(b"%s", b"%d" % missing).replace(b"%c", request[b"client_address"])
        # Last what a client can choose, so that nothing in it is replaced.
        text = text.replace(b"%r", domain)
    at_rcpt = request.get(b"protocol_state") == b"RCPT" and b"etrn_domain" in request
    if at_rcpt and not settings.reply[:1].isdigit():
        text = b"4.2.0 " + text
    return settings.action.encode() + b" " + text


def header(seconds: int, settings: Settings, now: int) -> bytes:
    """Return the action that adds a header, with a date as in RFC 5322.

    What stands for what is as in postgrey's ``--x-greylist-header``.
    """
    text = settings.header_text.replace("%t", str(seconds)).replace("%v", __version__)
    if "%d" in text:
        date = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(now))
        text = text.replace("%d", date)
    return b"PREPEND " + text.replace("%h", settings.hostname).encode()
