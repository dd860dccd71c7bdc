"""What Postfix writes to the mail log, as far as a policy service cares.

The lines are those of smtpd(8), qmgr(8) and the delivery agents, in the classic format of
syslog (``Nov  2 10:00:00 host postfix/smtpd[1]: text``) or with an ISO 8601 time. The classic
one has no year; a log is taken to have ended when its file was last written to.
"""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.output import untext

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.protocol import Request

REJECT = re.compile(
    rb"reject(?:_warning)?: RCPT from (?P<name>[^\[\s]*)\[(?P<address>[^\]]*)\](?::\d+)?: "
    rb"(?P<code>\d{3})[ -](?P<text>.*); "
    rb"from=<(?P<sender>.*?)>,? to=<(?P<recipient>.*?)>"
    rb"(?:,? proto=[^\s,]*)?(?:,? helo=<(?P<helo>.*)>)?"
)
"""smtpd(8), or postscreen(8) with its commas, refusing a recipient, if only with a warning."""

_DECISION = re.compile(rb"\baction=(?:greylist|pass), reason=")
_ATTRIBUTE = re.compile(rb"(?:^|, )(client_name|client_address|sender|recipient)=(\S*?)(?=, |\s|$)")

_LINE = re.compile(
    rb"(?P<time>\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ "
    rb"(?:postfix\S*/)(?P<agent>\w+)\[\d+\]: (?P<queue>\w+): (?P<rest>.*)"
)
_CLIENT = re.compile(rb"client=(?P<name>[^\[\s]*)\[(?P<address>[^\]]*)\](?::\d+)?(?P<more>.*)")
_FROM = re.compile(rb"from=<(.*?)>, size=")
_TO = re.compile(rb"to=<(?P<to>.*?)>, (?:orig_to=<(?P<original>.*?)>, )?relay=")

_OWN = re.compile(
    rb"Recipient address rejected: (?:[Uu]nverified|[Uu]ndeliverable|User unknown|Domain not "
    rb"found|Server configuration|need fully|Malformed|Access denied|Mailbox full|Policy Rej)"
)
"""Temporary refusals that are Postfix's own, not a policy service's."""

_MONTHS = {
    name.encode(): number
    for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_SLACK = 86400
"""Seconds by which a log's times may be later than its file's."""


class Attempt(NamedTuple):
    """An attempt to send to one recipient.

    Attributes:
        time: in seconds since the epoch.
        request: what the policy service would have been asked.
        accepted: whether Postfix took it; otherwise a policy service deferred it.
    """

    time: int
    request: Request
    accepted: bool


def request_of(line: bytes) -> Request | None:
    """Return the policy request behind a line of the log, or nothing.

    A refused recipient of smtpd(8) will do, and a decision that greylist or postgrey logged.
    """
    if found := REJECT.search(line):
        return request(**{key: value or b"" for key, value in found.groupdict().items()})
    if _DECISION.search(line):
        attributes = {name: untext(value) for name, value in _ATTRIBUTE.findall(line)}
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
        b"etrn_domain": b"",  # by which the policy knows a Postfix that is not ancient
    }


class Clock:
    """Reads the times of one log's lines."""

    def __init__(self, end: float) -> None:
        """Args: end: when the log was last written to, in seconds since the epoch."""
        self._end = end
        self._year = time.localtime(end).tm_year
        self._last = 0

    def read(self, text: bytes) -> int:
        """Return a line's time in seconds since the epoch.

        Raises:
            ValueError: it is none.
        """
        if text[:1].isdigit():
            return int(datetime.fromisoformat(text.decode("ascii")).timestamp())
        seconds = self._classic(text)
        if not self._last and seconds > self._end + _SLACK:
            self._year -= 1
            seconds = self._classic(text)
        elif seconds < self._last - 30 * 86400:
            self._year += 1  # from December to January
            seconds = self._classic(text)
        self._last = seconds
        return seconds

    def _classic(self, text: bytes) -> int:
        month, day, clock = text.split()
        hour, minute, second = map(int, clock.split(b":"))
        date = (self._year, _MONTHS.get(month, 0), int(day), hour, minute, second, 0, 0, -1)
        return int(time.mktime(date))


class _Message:
    """A message that is on its way through the queue."""

    __slots__ = ("address", "helo", "name", "recipients", "sender", "time")

    def __init__(self, time: int, name: bytes, address: bytes) -> None:
        self.time = time
        self.name = name
        self.address = address
        self.sender: bytes | None = None
        self.recipients: set[bytes] = set()


class Reader:
    """Rebuilds the attempts from the lines of one log or several, the oldest first.

    Mail that was submitted with a login, or without SMTP, is none of a policy service's.
    """

    def __init__(self) -> None:
        self._messages: dict[bytes, _Message] = {}

    def read(self, lines: Iterable[bytes], end: float) -> Iterator[Attempt]:
        """Yield the attempts of a log; of an accepted one, the time is that of its start."""
        clock = Clock(end)
        for line in lines:
            found = _LINE.match(line)
            if not found:
                continue
            stamp, agent, queue, rest = found.groups()
            if agent == b"smtpd":
                attempt = self._smtpd(clock, stamp, queue, rest)
                if attempt:
                    yield attempt
            elif queue in self._messages:
                yield from self._queued(queue, rest)

    def _smtpd(self, clock: Clock, stamp: bytes, queue: bytes, rest: bytes) -> Attempt | None:
        """Take in a line of smtpd(8): a client that begins a message, or is refused."""
        if rest.startswith(b"reject: ") and (refused := REJECT.match(rest)):
            deferred = refused["code"].startswith(b"4")
            if deferred and b"Recipient address rejected: " in refused["text"]:
                if _OWN.search(refused["text"]):
                    return None
                fields = {key: value or b"" for key, value in refused.groupdict().items()}
                return Attempt(_time(clock, stamp), request(**fields), False)
        elif (client := _CLIENT.match(rest)) and b"sasl_" not in client["more"]:
            seconds = _time(clock, stamp)
            self._messages[queue] = _Message(seconds, client["name"], client["address"])
        return None

    def _queued(self, queue: bytes, rest: bytes) -> Iterator[Attempt]:
        """Take in a line about a message in the queue; yield a recipient's first one."""
        message = self._messages[queue]
        if sender := _FROM.match(rest):
            message.sender = sender[1]
        elif (to := _TO.match(rest)) and message.sender is not None:
            recipient = to["original"] or to["to"]
            if recipient not in message.recipients:
                message.recipients.add(recipient)
                asked = request(message.name, message.address, message.sender, recipient)
                yield Attempt(message.time, asked, True)
        elif rest == b"removed":
            del self._messages[queue]


def _time(clock: Clock, stamp: bytes) -> int:
    try:
        return clock.read(stamp)
    except ValueError:
        return 0
