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
    ABOUT_MAIL,
    COMMON,
    KIND,
    PROGRAM,
    is_without_time,
    other_month,
    split,
    unwrapped,
)
from greylist.commands.logs.refusal import ADDRESS, CLIENT, refusal, request, unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.logs.clock import Moment
    from greylist.commands.logs.layout import Parts, Stamp
    from greylist.protocol import Request

_ABOUT_RECIPIENT = re.compile(rb"(?:milter-)?reject: (?:RCPT|DATA|BDAT|END-OF-MESSAGE) from ")
"""Other refusals are of a connection, or cleanup(8)'s of a message's content."""

_CLIENT = re.compile(rb"client=" + CLIENT + rb"(?P<more>.*)")
_ORIGINAL_CLIENT = re.compile(rb", orig_client=" + CLIENT)
_ORIGINAL_QUEUE = re.compile(rb", orig_queue_id=(\w+)")
_FROM = re.compile(rb"from=<(" + ADDRESS + rb")>, size=")
_TO = re.compile(
    rb"to=<(?P<to>" + ADDRESS + rb")>, (?:orig_to=<(?P<original>" + ADDRESS + rb")>, )?relay="
)
_HANDED_ON = re.compile(rb"queued as ([0-9A-Za-z]{5,20})\)\s*$")

_AGENTS = frozenset(
    b"smtpd cleanup qmgr oqmgr nqmgr smtp lmtp local virtual pipe error retry discard bounce "
    b"pickup postscreen relay trivial-rewrite anvil tlsproxy dnsblog verify flush scache master "
    b"proxymap showq postlogd tlsmgr spawn postdrop sendmail postqueue postsuper".split()
)
_ALONE = frozenset([b"smtpd", b"cleanup", b"qmgr", b"postscreen", b"lmtp"])
"""Programs that are Postfix's by their names alone, as macOS logs them."""

_LOOKED_AT = 100
"""Lines that are not understood of which the reason is looked for."""

_NAMELESS = b"postfix"
"""The name for a program without one whose lines are like Postfix's."""

_NEVER = b"NOQUEUE"
_OF_OTHERS = (b"--", b" ", b"\t")
"""How lines begin that journalctl(1) and grep(1) put between others, or that go on from one."""

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
        of_postfix: how many of them are from a program of Postfix.
        number, line: the first one's number, from 1 on, and itself.
        reason: why one of the first is not understood, in words; empty if it is not known.
    """

    __slots__ = ("count", "line", "number", "of_postfix", "reason")

    def __init__(self) -> None:
        self.count = self.number = self.of_postfix = 0
        self.line = b""
        self.reason = ""

    def add(self, number: int, line: bytes, reason: str = "") -> None:
        """Count a line; the reason is known if it is from a program of Postfix."""
        line = line.strip(b"\r\n")
        if not self.count:
            self.number, self.line = number, line
        self.count += 1
        self.of_postfix += bool(reason)
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
    if line.startswith(b"__CURSOR="):
        return "this is journalctl -o export: print the log with journalctl -o short-iso"
    if is_without_time(line):
        return "it has no date that can be read: print the log with journalctl -o short-iso"
    return ""


class Read(NamedTuple):
    """The outcome of reading one log.

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


_Seen = tuple[Clock, "Moment", "Request", bytes]
"""An attempt whose time may not be known before its log has been read; its name in the queue, empty
if it was refused."""

_RETRIED = 5 * 86400
"""Seconds within which a refused message may have come again: as long as queues are kept."""


class Reader:
    """Rebuilds the attempts from the lines of one log or several, the oldest first.

    Mail that was submitted with a login, or without SMTP, is none of a policy service's. Mail
    that a content filter hands back is the message that it was before.

    Attributes:
        logins: how many attempts had a login.
        untold: how many messages were refused of whose recipients the log does not tell.
    """

    def __init__(self, always_bcc: bytes = b"") -> None:
        """Args: always_bcc: the address to which Postfix copies each message, if it is known."""
        self.logins = self.untold = 0
        self._always_bcc = always_bcc
        self._logs = 0
        self._clock = Clock(0)
        self._handlers = {
            b"rej": self._refused, b"mil": self._refused, b"cli": self._begun,
            b"fro": self._sent, b"to": self._delivered, b"rem": self._removed,
        }  # fmt: skip
        self._seen: list[_Seen] = []
        self._whole: list[_Seen] = []
        self._messages: dict[bytes, _Message] = {}
        self._known: set[bytes] = set()
        self._handed_back: set[bytes] = set()
        self._proxied_logins: set[bytes] = set()
        self._mail = 0
        self._together: Counter[bytes] = Counter()
        self._programs: dict[bytes, bool] = {}
        self._plain: set[bytes] = set()
        self._looked: Counter[bytes] = Counter()

    def read(self, lines: Iterable[bytes], end: float) -> Read:
        """Take in the lines of a log that was last written to at this time."""
        self._logs += 1
        self._clock, unread = Clock(end), Unread()
        programs: Counter[bytes] = Counter()
        common, plain, number = COMMON.match, self._plain, 0
        iterator = iter(lines)
        first = next(iterator, None)
        for number, line in enumerate(chain([] if first is None else [first], iterator), 1):
            # Here a tenth of a microsecond counts: most lines are common, and tell nothing.
            stamp = common(line)
            if stamp is None:
                self._uncommon(number, line, unread, programs)
            else:
                program = stamp[PROGRAM]
                programs[program] += 1
                if program not in plain and not self._is_plain(program):
                    self._wrapped(number, stamp, line, unread, programs)
                elif stamp.lastindex == KIND and self._is_postfix(program):
                    fault = self._told(stamp, stamp, line)
                    if fault:
                        unread.add(number, line, fault)
        count = sum(times for name, times in programs.items() if self._is_postfix(name))
        postfix = count - unread.of_postfix
        others = number - postfix - unread.count
        return Read((first or b"").strip(b"\r\n"), postfix, others, unread)

    def _uncommon(self, number: int, line: bytes, unread: Unread, programs: Counter[bytes]) -> None:
        """Take in a line in another layout."""
        parts = split(line.strip(b"\r\n"))
        if parts is None:
            if line.strip() and not line.startswith(_OF_OTHERS):
                unread.add(number, line)
            return
        self._take(number, line, parts, unread, programs)

    def _is_plain(self, program: bytes) -> bool:
        """Return whether a program is known to pass on no lines of others."""
        self._looked[program] += 1
        if self._is_postfix(program) or self._looked[program] > _LOOKED_AT:
            self._plain.add(program)
            return True
        return False

    def _wrapped(
        self, number: int, stamp: Stamp, line: bytes, unread: Unread, programs: Counter[bytes]
    ) -> None:
        """Take in a line of another program's, which may be one of Postfix's passed on."""
        text = line[stamp.end() :]
        parts = unwrapped(stamp, text) if b"]: " in text else None
        if parts and self._is_postfix(parts[1]):
            program = stamp[PROGRAM]
            self._looked[program] = 0  # it goes on passing them on
            programs[program] -= 1
            self._take(number, line, parts, unread, programs)

    def _take(
        self, number: int, line: bytes, parts: Parts, unread: Unread, programs: Counter[bytes]
    ) -> None:
        """Take in a line whose parts are known."""
        stamp, program, text = parts
        told = ABOUT_MAIL.match(text)
        program = program or (_NAMELESS if told else b"")
        programs[program] += 1
        if told and self._is_postfix(program) and (fault := self._told(stamp, told, text)):
            unread.add(number, line, fault)

    def _told(self, stamp: Stamp, told: re.Match[bytes], text: bytes) -> str:
        """Take in a line of Postfix about mail; return why it is not understood, or empty."""
        queue, kind = told.group("queue", "kind")
        try:
            if self._handlers[kind[:3]](stamp, queue, text, told.start("kind")):
                return ""
        except ValueError:
            return "there is no such date or time of day"
        return "its form is none that Postfix is known to use"

    def _is_postfix(self, program: bytes) -> bool:
        """Return whether a program is one of Postfix's, whatever ``syslog_name`` calls it."""
        found = self._programs.get(program)
        if found is None:
            _, slash, agent = program.rpartition(b"/")
            found = agent in (_AGENTS if slash else _ALONE) or program.startswith(b"postfix")
            self._programs[program] = found
        return found

    def _refused(self, stamp: Stamp, _: bytes, text: bytes, place: int) -> bool:
        """Take in a refusal, if its form is known; a policy service's is an attempt."""
        found = refusal(text, place)
        if found is None:
            return not _ABOUT_RECIPIENT.match(text, place)
        moment = self._clock.read(stamp)
        if found.is_greylisting and (found.whole or found.request[b"recipient"]):
            if b"sasl_username" in found.request:
                self.logins += 1
            else:
                refused = self._whole if found.whole else self._seen
                refused.append((self._clock, moment, found.request, b""))
        return True

    def _begun(self, stamp: Stamp, queue: bytes, text: bytes, place: int) -> bool:
        """Take in the beginning of a message, if its form is known."""
        client = _CLIENT.match(text, place)
        if client is None:
            return False
        moment = self._clock.read(stamp)
        name, address, more = client.group("name", "address", "more")
        if queue == _NEVER:  # a filter before the queue is going to get it
            if b", sasl_" in more:
                self._proxied_logins.add(address)
            return True
        self._known.add(queue)
        self._messages.pop(queue, None)
        if b"," in more:
            client = self._forwarded(client)
            if client is None:
                return True
            name, address = client.group("name", "address")
        self._messages[queue] = _Message(self._clock, moment, name, address)
        return True

    def _forwarded(self, client: re.Match[bytes]) -> re.Match[bytes] | None:
        """Return the client before a filter, or None if it had a login or is known."""
        more = client["more"]
        original = _ORIGINAL_CLIENT.search(more)
        client = original or client
        if b", sasl_" in more or (original and client["address"] in self._proxied_logins):
            self._proxied_logins.discard(client["address"])
            self.logins += 1
            return None
        again = _ORIGINAL_QUEUE.search(more)
        return None if again and again[1] in self._known else client

    def _sent(self, _: Stamp, queue: bytes, text: bytes, place: int) -> bool:
        """Take in the sender of a message in the queue."""
        if (message := self._messages.get(queue)) and (sender := _FROM.match(text, place)):
            message.sender = sender[1]
        return True

    def _delivered(self, _: Stamp, queue: bytes, text: bytes, place: int) -> bool:
        """Take in the fate of a recipient; the first line about one is an attempt."""
        if b"queued as " in text and (handed_on := _HANDED_ON.search(text, place)):
            self._handed_back.add(handed_on[1])
        message = self._messages.get(queue)
        if message and message.sender is not None and (to := _TO.match(text, place)):
            recipient = to["original"] or to["to"]
            if recipient not in message.recipients:
                message.recipients.add(recipient)
                asked = request(message.name, message.address, message.sender, recipient)
                self._seen.append((message.clock, message.moment, asked, queue))
        return True

    def _removed(self, _: Stamp, queue: bytes, text: bytes, place: int) -> bool:
        """Take in that a message has left the queue."""
        if message := self._messages.pop(queue, None):
            self._count(message)
        return True

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
        messages: dict[bytes, dict[bytes, list[Attempt]]] = {}
        for clock, moment, asked, queue in self._seen:
            if queue and (queue in self._handed_back or asked[b"recipient"] in copies):
                continue
            try:
                attempt = Attempt(clock.seconds(moment), asked, bool(queue))
            except ValueError:
                continue
            found.append(attempt)
            if queue and self._whole:
                of_sender = messages.setdefault(asked[b"sender"].lower(), {})
                of_sender.setdefault(queue, []).append(attempt)
        untold: set[tuple[int, bytes, bytes]] = set()
        for clock, moment, asked, _ in self._whole:
            try:
                time = clock.seconds(moment)
            except ValueError:
                continue
            whole = list(_refused_whole(time, asked, messages))
            found += whole
            if not whole:
                untold.add((time, asked[b"client_address"], asked[b"sender"]))
        self.untold = len(untold)
        found.sort(key=itemgetter(0))
        return found if self._logs == 1 else list(_each_once(found))

    def _copied(self) -> bytes | None:
        """Return the address that got a copy of each message (``always_bcc``), if any did."""
        if self._mail < _COPIES:
            return None
        everywhere = [name for name, count in self._together.items() if count == self._mail]
        return unquote(everywhere[0]) if len(everywhere) == 1 else None


def _refused_whole(
    time: int, asked: Request, messages: dict[bytes, dict[bytes, list[Attempt]]]
) -> Iterator[Attempt]:
    """Yield the attempts in a message that was refused after its recipients.

    They are those of the next message of this sender's, which is most likely the same one: the
    log tells none of several, or the last.

    Args:
        time: of the refusal.
        asked: the client, the sender, and a recipient if there is one.
        messages: those that were accepted, by sender and name in the queue.
    """
    recipient = asked[b"recipient"]
    again = [
        message
        for message in messages.get(asked[b"sender"].lower(), {}).values()
        if 0 <= message[0].time - time <= _RETRIED
        and _may_be_of(message[0].request, asked)
        and (not recipient or any(recipient == a.request[b"recipient"] for a in message))
    ]
    if again:
        for accepted in min(again, key=lambda message: message[0].time):
            yield Attempt(time, asked | {b"recipient": accepted.request[b"recipient"]}, False)
    elif recipient:
        yield Attempt(time, asked, False)


def _may_be_of(later: Request, asked: Request) -> bool:
    """Return whether a message may be a retry of one of its sender's: bounces have none."""
    return bool(asked[b"sender"]) or later[b"client_address"] == asked[b"client_address"]


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
