"""The rules of greylisting: from a request and what is stored to an action.

A client that has not been seen before with this sender and recipient is asked to come back
(RFC 6647, section 2); one that does so after the delay is let through. Everything here is a
function of its arguments: no clock is read and no file is touched.

Beside the triplets, these entries are stored; a triplet's key never starts with a slash:

- ``/client/IDENTITY``: ``ctime/atime/count``, how many triplets of a client have passed.
- ``/pool/DIGEST``: ``ctime/atime/count``, the triplet that stands for all clients of an
  organisational domain; the digest is of the domain, the sender and the recipient.
- ``/instance/INSTANCE``: when the message got its header.
"""

from __future__ import annotations

from greylist.client import identify, organization
from greylist.expiry import is_expired, state_of
from greylist.reply import deferral, header
from greylist.sender import normalize
from greylist.triplet import (
    DAY,
    POOL,
    Triplet,
    client_key,
    instance_key,
    key,
    pool_key,
    whole_key,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Entries
    from greylist.whitelist.whitelist import Whitelist

PASS = b"dunno"
"""Not ``ok``: the restrictions after ours still apply (Postfix, access(5))."""

HOUR = 3600


class Decision:
    """An action for Postfix, and why.

    Attributes:
        action: the text after ``action=``.
        verdict: ``greylist`` or ``pass``, for the log.
        reason: why, for the log, in postgrey's words where it has any.
        key: the text that was looked up, empty when nothing was.
        found: the value stored before, or the line of a whitelist; empty when there was none.
        stored: the value stored now, empty when nothing was.
        age: seconds since the first attempt.
        warning: what an administrator should know about the request or the entry.
    """

    __slots__ = ("action", "age", "found", "key", "reason", "stored", "verdict", "warning")

    def __init__(self, action: bytes, verdict: str, reason: str, warning: str = "") -> None:
        self.action = action
        self.verdict = verdict
        self.reason = reason
        self.warning = warning
        self.key = self.found = self.stored = b""
        self.age = 0


def screen(
    request: Request,
    whitelist: Whitelist,
    *more: Whitelist,
    only: Sequence[Whitelist] = (),
    mode: str = "greylist",
) -> Decision | None:
    """Return the decision when it needs no stored entry, otherwise nothing.

    Args:
        request: the attributes.
        whitelist: who is never greylisted.
        more: further lists of such.
        only: lists of the recipients that are greylisted; without any, all are.
        mode: the setting of that name.
    """
    if mode == "off":
        return Decision(PASS, "pass", "mode=off")
    client = request.get(b"client_address")
    recipient = request.get(b"recipient")
    if not client or not recipient:
        # Postfix sends no recipient at DATA and END-OF-MESSAGE when the mail has several.
        missing = "recipient" if client else "client_address"
        warning = f"request without {missing}: check_policy_service belongs in "
        warning += "smtpd_recipient_restrictions"
        return Decision(PASS, "pass", f"no {missing}", warning)
    subject = (b"%s/%s/%s" % (client, request.get(b"sender", b""), recipient)).lower()
    for list in (whitelist, *more):
        line = list.match(subject, request)
        if line is not None:
            about = "recipient" if line.attribute == b"recipient" else "client"
            decision = Decision(PASS, "pass", f"{about} whitelist")
            decision.key, decision.found = subject, line
            return decision
    if only and not any(list.match(subject, request) for list in only):
        return Decision(PASS, "pass", "recipient not in greylist_recipients")
    return None


def decide(request: Request, entries: Entries, settings: Settings, now: int) -> Decision:
    """Return the decision for a request that ``screen`` let through, and store the attempt.

    Args:
        request: has a client address and a recipient.
        entries: what is stored; the attempt is put there.
        settings: the delay and all the rest.
        now: seconds since the epoch.
    """
    attempt = _Attempt(request, entries, settings, now)
    decision = attempt.trusted() or attempt.greylisted()
    if settings.mode == "learn":
        decision.action = PASS
        decision.reason += ", mode=learn"
    return decision


class _Attempt:
    """A client's attempt to deliver, beside what is stored."""

    __slots__ = ("client", "entries", "now", "request", "settings")

    def __init__(self, request: Request, entries: Entries, settings: Settings, now: int) -> None:
        self.request = request
        self.entries = entries
        self.settings = settings
        self.now = now
        self.client = identify(request, settings)

    def trusted(self) -> Decision | None:
        """Return the decision for a trusted client, otherwise nothing."""
        if not self.settings.auto_whitelist:
            return None
        name = client_key(self.client)
        found = self.entries.get(name)
        if found is None or state_of(name, found, self.settings, self.now) != "trusted":
            return None
        trust = Triplet.unpack(found)
        decision = Decision(PASS, "pass", "client AWL")
        decision.key, decision.found, decision.age = name, found, self.now - trust.ctime
        if not 0 <= self.now - trust.last_seen < HOUR:
            decision.stored = trust.again(self.now).pack()
            self.entries.put(name, decision.stored, self.settings.max_age)
        return decision

    def credit(self) -> None:
        """Count a triplet of the client's that has passed, at most one an hour."""
        if not self.settings.auto_whitelist:
            return
        name = client_key(self.client)
        found = self.entries.get(name)
        if found is None or state_of(name, found, self.settings, self.now) == "expired":
            self.entries.put(name, Triplet(self.now, count=1).pack(), self.settings.max_age)
            return
        credit = Triplet.unpack(found)
        if not 0 <= self.now - credit.last_seen < HOUR:
            self.entries.put(name, credit.again(self.now).pack(), self.settings.max_age)

    def greylisted(self) -> Decision:
        """Return the decision on the triplet, and store the attempt."""
        name = self.key()
        found = self.entries.get(name)
        triplet, warning = self.recall(found)
        pool = b""
        if triplet is None:
            domain = organization(self.request) if self.settings.pool == "network" else b""
            for other, where in self.others(name, domain):
                value = self.entries.get(other)
                triplet, _ = self.recall(value)
                if triplet:
                    name, found, pool = other, value, where
                    break
        decision = self.again(name, triplet) if triplet else self.first(name, domain)
        if pool:
            decision.reason += f", pool={pool.decode()}"
        decision.key, decision.found, decision.warning = name, found or b"", warning
        return decision

    def key(self) -> bytes:
        """Return the triplet's key."""
        return key(self.client, self.sender(), self.request[b"recipient"])

    def pool_key(self, domain: bytes) -> bytes:
        """Return the key of the triplet that stands for all clients of a domain."""
        return pool_key(domain, self.sender(), self.request[b"recipient"])

    def sender(self) -> bytes:
        """Return the sender as it stands in a key."""
        sender = self.request.get(b"sender", b"")
        return normalize(sender) if self.settings.normalize_sender else sender

    def recall(self, found: bytes | None) -> tuple[Triplet | None, str]:
        """Return the stored triplet, or nothing and a warning when it is of no use."""
        if found is None:
            return None, ""
        try:
            triplet = Triplet.unpack(found)
        except ValueError:
            return None, f"ignoring stored value {found!r:.100}"
        if triplet.ctime > self.now:
            # The clock went back: nobody is greylisted for ever.
            return None, f"ignoring first attempt in the future: {triplet.ctime}"
        return (None if is_expired(triplet, self.settings, self.now) else triplet), ""

    def others(self, name: bytes, domain: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys under which a triplet may be that is not under its own; and its pool."""
        sender, recipient = self.request.get(b"sender", b""), self.request[b"recipient"]
        original = whole_key(self.request[b"client_address"], sender, recipient)
        if original != name:
            yield original, b""  # as greylist.pl stored it, or we with other settings
        if b"~" in name:
            yield whole_key(self.client, self.sender(), recipient), b""  # as version 0.1 stored it
        if domain:
            yield self.pool_key(domain), domain

    def first(self, name: bytes, domain: bytes) -> Decision:
        """Return the decision on a first attempt, and store it."""
        entries, settings, now = self.entries, self.settings, self.now
        triplet = Triplet(now)
        stored = triplet.pack()
        keep = max(settings.retry_window, settings.max_age if settings.mode == "learn" else 0)
        entries.put(name, stored, keep)
        if domain:
            entries.put(self.pool_key(domain), stored, keep)
        return self.judge(triplet, stored, waiting=True)

    def again(self, name: bytes, before: Triplet) -> Decision:
        """Return the decision on one more attempt, and store it."""
        triplet = before.again(self.now)
        stored = triplet.pack()
        delay = self.settings.delay
        waits = triplet.is_waiting(delay) and self.settings.mode != "learn"
        self.entries.put(
            name, stored, self.settings.retry_window if waits else self.settings.max_age
        )
        waiting, new_day = before.is_waiting(delay), before.last_seen // DAY != self.now // DAY
        if not triplet.is_waiting(delay) and (waiting or new_day) and not name.startswith(POOL):
            waiting = self.share(stored) and waiting
        return self.judge(triplet, stored, waiting)

    def share(self, stored: bytes) -> bool:
        """Store a triplet that has passed for its domain; return whether none has passed there."""
        domain = organization(self.request) if self.settings.pool == "network" else b""
        if not domain:
            return True
        name = self.pool_key(domain)
        before, _ = self.recall(self.entries.get(name))
        self.entries.put(name, stored, self.settings.max_age)
        return before is None or before.is_waiting(self.settings.delay)

    def judge(self, triplet: Triplet, stored: bytes, waiting: bool) -> Decision:
        """Return the decision on a triplet, this attempt included, that was waiting or not."""
        age = self.now - triplet.ctime
        missing = self.settings.delay - age
        if missing > 0:
            reason = f"early-retry ({missing}s missing)" if triplet.count else "new"
            action = deferral(self.request, self.settings, missing)
            decision = Decision(action, "greylist", reason)
        elif waiting:
            self.credit()
            decision = Decision(self.header(age), "pass", f"triplet found, delay={age}")
        else:
            decision = Decision(PASS, "pass", "triplet found")
        decision.stored, decision.age = stored, age
        return decision

    def header(self, age: int) -> bytes:
        """Return the action for a message that was delayed: a header, once, if it is wanted.

        A message has one ``instance`` for all its recipients. After the content it would be too
        late (access(5), PREPEND).
        """
        at_end = self.request.get(b"protocol_state") == b"END-OF-MESSAGE"
        if not self.settings.header or not age or at_end:
            return PASS
        instance = self.request.get(b"instance")
        if instance:
            name = instance_key(instance)
            if self.entries.get(name) is not None:
                return PASS
            self.entries.put(name, b"%d" % self.now, DAY)
        return header(age, self.settings, self.now)
