"""The attempts of clients to send mail, rebuilt from what Postfix writes to the mail log.

The lines are those of smtpd(8), cleanup(8), qmgr(8) and the delivery agents. An accepted
message is told in several: its client when it begins, its sender when it is queued, each
recipient when it is delivered.
"""

from __future__ import annotations

import re
from collections import Counter
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from greylist.commands.logs.clock import Clock
from greylist.commands.logs.layout import (
    COMMON,
    is_about_mail,
    is_without_time,
    other_month,
    split,
)
from greylist.commands.logs.refusal import ADDRESS, CLIENT, refusal, request, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.logs.clock import Moment
    from greylist.commands.logs.layout import Stamp
    from greylist.protocol import Request

_CLIENT = re.compile(rb"client=" + CLIENT + rb"(?P<more>.*)")
_ORIGINAL_CLIENT = re.compile(rb", orig_client=" + CLIENT)
_ORIGINAL_QUEUE = re.compile(rb", orig_queue_id=(\w+)")
_FROM = re.compile(rb"from=<(" + ADDRESS + rb")>, size=")
_TO = re.compile(
    rb"to=<(?P<to>" + ADDRESS + rb")>, (?:orig_to=<(?P<original>" + ADDRESS + rb")>, )?relay="
)
_HANDED_ON = re.compile(rb"queued as ([0-9A-Za-z]{5,20})\)$")

_AGENTS = frozenset(
    b"smtpd cleanup qmgr oqmgr nqmgr smtp lmtp local virtual pipe error retry discard bounce "
    b"pickup postscreen relay trivial-rewrite anvil tlsproxy dnsblog verify flush scache master "
    b"proxymap showq postlogd tlsmgr spawn postdrop sendmail postqueue postsuper".split()
)
_ALONE = frozenset([b"smtpd", b"cleanup", b"qmgr", b"postscreen", b"lmtp"])
"""Programs that are Postfix's by their names alone, as macOS logs them."""

_LOOKED_AT = 100
"""Lines that are not understood of which the reason is looked for."""

_MOST_PROGRAMS = 10_000
"""Names of programs that are remembered."""

_NEVER = b"NOQUEUE"
_QUEUED = (b"from=", b"to=", b"removed")
_REJECTED = (b"reject: ", b"milter-reject: ")
_TELLING = frozenset(words[:2] for words in (*_QUEUED, *_REJECTED, b"client="))
"""How begins what Postfix says of mail, behind the name in the queue."""

_OF_OTHERS = (b"-- ", b" ", b"\t")
"""How lines begin that journalctl(1) adds between others, and those that go on from another."""

_UNKNOWN = "its form is none that Postfix is known to use"

_COPIES = 3
"""Messages from which on an address that gets each of them is taken for ``always_bcc``."""


class Attempt(NamedTuple):
    """An attempt to send to one recipient.

    Attributes:
        time: in seconds since the epoch.
        request: what the policy service would have been asked.
        accepted: whether Postfix took it; otherwise a policy service or a milter deferred it.
    """

    time: int
    request: Request
    accepted: bool


class Unread:
    """The lines that were not understood.

    Attributes:
        count: how many.
        number, line: the first one's number, from 1 on, and itself.
        reason: why one of the first is not understood, in words; empty if it is not known.
    """

    __slots__ = ("count", "line", "number", "reason")

    def __init__(self) -> None:
        self.count = self.number = 0
        self.line = b""
        self.reason = ""

    def add(self, number: int, line: bytes, reason: str = "") -> None:
        """Count a line; the reason may be known."""
        if not self.count:
            self.number, self.line = number, line
        self.count += 1
        if not self.reason and self.count <= _LOOKED_AT:
            self.reason = reason or _reason(line)


def _reason(line: bytes) -> str:
    """Return why a line has no time that can be read, in words for the log's owner."""
    if month := other_month(line):
        name = month.decode(errors="backslashreplace")
        if name.isprintable():
            return (
                f"“{name}” is no month in English: print the log with LC_ALL=C in front of "
                "journalctl, or with journalctl -o short-iso"
            )
    if is_without_time(line):
        return "it has no date: print the log with journalctl -o short-iso"
    return ""


class Read(NamedTuple):
    """What became of the lines of one log.

    Attributes:
        first: the first line.
        postfix: how many lines were Postfix's.
        others: how many were known to be none of Postfix's.
        unread: those that were not understood.
    """

    first: bytes
    postfix: int
    others: int
    unread: Unread


class _Message:
    """A message that is on its way through the queue."""

    __slots__ = ("address", "clock", "moment", "name", "recipients", "sender")

    def __init__(self, clock: Clock, moment: Moment, name: bytes, address: bytes) -> None:
        self.clock = clock
        self.moment = moment
        self.name = name
        self.address = address
        self.sender: bytes | None = None
        self.recipients: set[bytes] = set()


class _Seen(NamedTuple):
    """An attempt whose time may not be known before its log has been read."""

    clock: Clock
    moment: Moment
    request: Request
    queue: bytes  # of an accepted message


class Reader:
    """Rebuilds the attempts from the lines of one log or several, the oldest first.

    Mail that was submitted with a login, or without SMTP, is none of a policy service's. Mail
    that a content filter hands back is the message that it was before.

    Attributes:
        logins: how many attempts had a login.
    """

    def __init__(self, always_bcc: bytes = b"") -> None:
        """Args: always_bcc: the address to which Postfix copies each message, if it is known."""
        self.logins = 0
        self._always_bcc = always_bcc
        self._logs = 0
        self._seen: list[_Seen] = []
        self._messages: dict[bytes, _Message] = {}
        self._known: set[bytes] = set()
        self._handed_back: set[bytes] = set()
        self._proxied_logins: set[bytes] = set()
        self._mail = 0
        self._together: Counter[bytes] = Counter()
        self._programs: dict[bytes, bool] = {}

    def read(self, lines: Iterable[bytes], end: float) -> Read:
        """Take in the lines of a log that was last written to at this time."""
        self._logs += 1
        clock, unread = Clock(end), Unread()
        number = postfix = 0
        iterator = iter(lines)
        first = next(iterator, None)
        common, known = COMMON.match, self._programs
        for number, line in enumerate(chain([] if first is None else [first], iterator), 1):
            # Here a tenth of a microsecond counts: most lines are common, and tell nothing.
            if stamp := common(line):
                program = stamp["program"]
                if not (known[program] if program in known else self._is_postfix(program)):
                    continue
                queue, _, rest = line[stamp.end() :].partition(b": ")
                if rest[:2] not in _TELLING:
                    postfix += 1
                    continue
            elif parts := split(line.strip(b"\r\n")):
                stamp, program, text = parts
                if not (is_about_mail(text) if not program else self._is_postfix(program)):
                    continue
                queue, _, rest = text.partition(b": ")
            else:
                if line.strip() and not line.startswith(_OF_OTHERS):
                    unread.add(number, line.strip(b"\r\n"))
                continue
            if fault := self._take(clock, stamp, queue, rest.rstrip()):
                unread.add(number, line.strip(b"\r\n"), fault)
            else:
                postfix += 1
        first = (first or b"").strip(b"\r\n")
        return Read(first, postfix, number - postfix - unread.count, unread)

    def _is_postfix(self, program: bytes) -> bool:
        """Return whether a program is one of Postfix's, whatever ``syslog_name`` calls it."""
        _, slash, agent = program.rpartition(b"/")
        found = agent in (_AGENTS if slash else _ALONE) or program.startswith(b"postfix")
        if len(self._programs) < _MOST_PROGRAMS:
            self._programs[program] = found
        return found

    def _take(self, clock: Clock, stamp: Stamp, queue: bytes, rest: bytes) -> str:
        """Take in what a program of Postfix said; return why it cannot be understood."""
        if queue in self._messages and rest.startswith(_QUEUED):
            self._queued(queue, rest)
            return ""
        try:
            if rest.startswith(_REJECTED):
                return "" if self._refused(clock, stamp, rest) else _UNKNOWN
            if rest.startswith(b"client="):
                return "" if self._begun(clock, stamp, queue, rest) else _UNKNOWN
        except ValueError:
            return "there is no such date or time of day"
        self._handed_on(rest)  # of mail that is none of ours
        return ""

    def _refused(self, clock: Clock, stamp: Stamp, rest: bytes) -> bool:
        """Take in a refusal, if its form is known; a policy service's is an attempt."""
        found = refusal(rest)
        if found is None:
            return b" from " not in rest  # "reject: header ...", of cleanup(8)'s own checks
        moment = clock.read(stamp)
        if found.is_greylisting and found.request[b"recipient"]:
            if b"sasl_username" in found.request:
                self.logins += 1
            else:
                self._seen.append(_Seen(clock, moment, found.request, b""))
        return True

    def _begun(self, clock: Clock, stamp: Stamp, queue: bytes, rest: bytes) -> bool:
        """Take in the beginning of a message, if its form is known."""
        client = _CLIENT.match(rest)
        if client is None:
            return False
        more = client["more"]
        moment = clock.read(stamp)
        if queue == _NEVER:  # a filter before the queue is going to get it
            if b", sasl_" in more:
                self._proxied_logins.add(client["address"])
            return True
        again = _ORIGINAL_QUEUE.search(more)
        original = _ORIGINAL_CLIENT.search(more)
        client = original or client
        login = b", sasl_" in more
        if original and client["address"] in self._proxied_logins:
            self._proxied_logins.remove(client["address"])
            login = True
        self.logins += login
        self._messages.pop(queue, None)
        if not login and not (again and again[1] in self._known):
            self._messages[queue] = _Message(clock, moment, client["name"], client["address"])
        self._known.add(queue)
        return True

    def _queued(self, queue: bytes, rest: bytes) -> None:
        """Take in a line about a message in the queue; a recipient's first is an attempt."""
        message = self._messages[queue]
        if rest == b"removed":
            self._count(self._messages.pop(queue))
        elif rest.startswith(b"from="):
            if sender := _FROM.match(rest):
                message.sender = sender[1]
        elif (to := _TO.match(rest)) and message.sender is not None:
            self._handed_on(rest)
            recipient = to["original"] or to["to"]
            if recipient not in message.recipients:
                message.recipients.add(recipient)
                asked = request(message.name, message.address, message.sender, recipient)
                self._seen.append(_Seen(message.clock, message.moment, asked, queue))

    def _handed_on(self, rest: bytes) -> None:
        """Note the name that a delivered message has in the next queue, which may be ours."""
        if b"queued as " in rest and (handed_on := _HANDED_ON.search(rest)):
            self._handed_back.add(handed_on[1])

    def _count(self, message: _Message) -> None:
        """Count the recipients that a message had beside others."""
        if message.recipients:
            self._mail += 1
            if len(message.recipients) > 1:
                self._together.update(message.recipients)

    def attempts(self) -> list[Attempt]:
        """Return the attempts of all logs, in the order of their times, each once.

        Logs may overlap: a syslogd writes the same line to mail.log and to syslog.
        """
        copies = {self._always_bcc, self._copied()}
        found: list[Attempt] = []
        for clock, moment, asked, queue in self._seen:
            if queue and (queue in self._handed_back or asked[b"recipient"] in copies):
                continue
            try:
                found.append(Attempt(clock.seconds(moment), asked, bool(queue)))
            except ValueError:
                continue
        found.sort(key=itemgetter(0))
        return found if self._logs == 1 else list(_each_once(found))

    def _copied(self) -> bytes | None:
        """Return the address that got a copy of each message (``always_bcc``), if any did."""
        if self._mail < _COPIES:
            return None
        everywhere = [name for name, count in self._together.items() if count == self._mail]
        return unquote(everywhere[0]) if len(everywhere) == 1 else None


def _each_once(attempts: list[Attempt]) -> Iterator[Attempt]:
    """Yield attempts without those that are there twice within a second."""
    second, seen = 0, set[tuple[bytes, bytes, bytes, bool]]()
    for attempt in attempts:
        if attempt.time != second:
            second = attempt.time
            seen.clear()
        asked = attempt.request
        who = (asked[b"client_address"], asked[b"sender"], asked[b"recipient"], attempt.accepted)
        if who not in seen:
            seen.add(who)
            yield attempt
