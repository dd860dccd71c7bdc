"""The rules of greylisting: from a request and what is stored to an action.

A client that has not been seen before with this sender and recipient is asked to come back
(RFC 6647, section 2); one that does so after the delay is let through. A client that
has come back once is known from then on. The rules, the first that holds:

=====================================================  =========================  ===============
what                                                   reason in the log          stored
=====================================================  =========================  ===============
``mode = off``                                         mode=off
no delivery: VRFY, ETRN; a stage without a recipient   no delivery, no recipient
mail of our own users, with ``learn_replies``          own user                   what they await
client or recipient are on a whitelist                 client/recipient whitelist
``greylist_recipients`` lacks the recipient            recipient not in it
no sign, with ``greylist_clients = suspicious``        client not suspicious
the client is trusted (``auto_whitelist``)             client AWL                 once an hour
it answers a user's mail (``learn_replies``)           reply                      once an hour
the sender is known (``auto_whitelist_senders``)       known sender               once an hour
the triplet, or that of its pool, has passed           triplet found              the attempt
it has waited for ``delay``                            triplet found, delay=N     and the credit
but this RCPT was deferred a moment ago                early-retry, asked twice
it waits                                               early-retry (N missing)    the attempt
nothing is known, and there is no room                 new, max_entries reached
nothing is known                                       new                        the attempt
=====================================================  =========================  ===============

The first six need no stored entry (``screening``). The client's credit is asked for its verified
organisational domain first, then for its network; whoever has no entry there has no known senders,
so a stranger costs few reads.

Everything here is a function of its arguments: no clock is read and no file is touched. Beside
the triplets, these entries are stored; a triplet's key never starts with a slash:

- ``/client/IDENTITY``: ``ctime/atime/count``, how many triplets of a client have passed, at most
  one an hour counting. IDENTITY is its network, or its verified organisational domain.
- ``/sender/IDENTITY/SENDER``: the same of a sender's triplets from there. In the client's own
  verified domain all senders are one, and SENDER is ``@DOMAIN``.
- ``/reply/SENDER/RECIPIENT``: the same of the mail of a user, the RECIPIENT, to this SENDER.
- ``/pool/DIGEST``: the triplet that stands for all clients of an organisational domain; the digest
  is of the domain, the sender and the recipient.
- ``/instance/INSTANCE``: when the message got its header.
- ``/instance/INSTANCE/RECIPIENT``: when this RCPT was deferred, for the last of the delay only.
"""

from __future__ import annotations

from greylist.client import identities, speaks_for
from greylist.decision import PASS, Decision
from greylist.expiry import is_expired
from greylist.recipient import delivered
from greylist.reply import deferral, header
from greylist.sender import normalize
from greylist.triplet import (
    DAY,
    Triplet,
    client_key,
    instance_key,
    key,
    pool_key,
    reply_key,
    sender_key,
    whole_key,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Entries

    Stored = tuple[bytes, bytes, Triplet]

HOUR = 3600

SKEW = 300
"""Seconds by which the clocks of two hosts may differ. With more, a first attempt in the future is
taken for new: under the default delay that makes nobody wait longer."""

BOUNDARY = 30
"""Seconds before the end of the delay in which a deferred RCPT is remembered."""


def decide(  # noqa: PLR0913 - what a decision depends on
    request: Request,
    entries: Entries,
    settings: Settings,
    now: int,
    *,
    trusting: bool = True,
    own: bool = False,
    full: bool = False,
    again: bool = False,
) -> Decision:
    """Return the decision for a request that ``screen`` let through, and store the attempt.

    Args:
        request: has a client address and a recipient.
        entries: what is stored; the attempt is put there.
        settings: the delay and all the rest.
        now: seconds since the epoch.
        trusting: whether the client may ever be trusted (``never_trust``).
        own: whether it sends mail of our own users (``learn_replies``).
        full: whether no new triplet may be stored (``max_entries``).
        again: whether this very RCPT was deferred, at ``now``: one RCPT has one answer.
    """
    attempt = Attempt(request, settings, trusting=trusting, own=own, asked=again and now)
    return attempt.decide(entries, now, full=full)


def hint(request: Request, settings: Settings) -> Iterator[bytes]:
    """Yield the keys that ``decide`` asks for first: a remote store can fetch them in one trip."""
    return Attempt(request, settings).hint()


class Attempt:
    """An attempt to deliver mail: client, sender and recipient, and the keys of its entries.

    It is made before a store is locked, so that nobody waits for what needs no entry.

    Attributes:
        client: the client part of the triplet.
        domain: the pool in which another client may have begun, empty when there is none.
        names: the identities under which the client earns trust.
        sender: its sender, in the normal form.
        recipient: its recipient, as Postfix would deliver it.
        key: the triplet's.
        met: the identities with an entry, once ``trusted`` has looked: with the others no sender
            is known (``credit``).
    """

    __slots__ = (
        "_pool_key", "asked", "client", "domain", "entries", "key", "met", "names", "now", "own",
        "recipient", "request", "sender", "settings",
    )  # fmt: skip

    def __init__(
        self,
        request: Request,
        settings: Settings,
        *,
        trusting: bool = True,
        own: bool = False,
        asked: int = 0,
    ) -> None:
        """Work out the keys.

        Args:
            request: has a client address and a recipient.
            settings: the delay and all the rest.
            trusting: whether the client may ever be trusted.
            own: whether it sends mail of our own users.
            asked: when this very RCPT was deferred, in seconds since the epoch, or 0: one RCPT has
                one answer.
        """
        self.request = request
        self.asked = asked
        self.settings = settings
        self.own = own
        sender = request.get(b"sender", b"")
        self.sender = normalize(sender) if settings.normalize_sender else sender.lower()
        self.recipient = delivered(request[b"recipient"])
        self.client, self.domain, names = identities(request, settings)
        self.names = names if trusting else ()
        self.key = key(self.client, self.sender, self.recipient)
        self._pool_key = b""

    def hint(self) -> Iterator[bytes]:
        """Yield the keys that ``decide`` asks for first.

        A generator, since a store that is at hand does not look, and should not pay for it.
        """
        yield from self.clients()
        yield from self.senders()
        yield self.key
        yield from self.former_keys()
        if self.settings.learn_replies:
            yield reply_key(self.sender, self.recipient)
        if self.domain:
            yield self.pool_key()

    def decide(self, entries: Entries, now: int, *, full: bool = False) -> Decision:
        """Return the decision, and store the attempt.

        Args:
            entries: what is stored.
            now: seconds since the epoch.
            full: whether no new triplet may be stored (``max_entries``).
        """
        self.entries = entries
        self.now = self.asked or now
        self.met: tuple[bytes, ...] = ()
        if self.own:
            return self.outgoing()
        decision = (
            (self.asked and self.repeated())
            or self.trusted()
            or self.reply()
            or self.known()
            or self.greylisted(full)
        )
        if self.settings.mode == "learn":
            decision.action = PASS
            decision.reason += ", mode=learn"
        return decision

    def clients(self) -> list[bytes]:
        """Return the keys of the client's credit."""
        return [client_key(name) for name in self.names]

    def earning(self) -> Iterator[bytes]:
        """Yield the keys of the client's credit that mail of its earns: the network's, at least."""
        for name in self.names:
            if name is self.names[-1] or speaks_for(name, self.request):
                yield client_key(name)

    def senders(self) -> list[bytes]:
        """Return the keys of the sender's credit."""
        return [self.sender_key(name) for name in self.names]

    def sender_key(self, name: bytes) -> bytes:
        """Return the key of the sender's credit with an identity.

        Of the domain that the client's name is verified in, all senders are one: it is their own
        server.
        """
        if b"@" in self.sender and self.sender.endswith((b"@" + name, b"." + name)):
            return sender_key(name, b"@" + name)
        return sender_key(name, self.sender)

    def pool_key(self) -> bytes:
        """Return the key of the pool's triplet."""
        if not self._pool_key:
            self._pool_key = pool_key(self.domain, self.sender, self.recipient)
        return self._pool_key

    def former_keys(self) -> list[bytes]:
        """Return the triplet's keys of greylist.pl, of version 0.1 and of other settings of ours.

        The triplet's own is not among them.
        """
        sender, recipient = self.request.get(b"sender", b""), self.request[b"recipient"]
        keys = [whole_key(self.request[b"client_address"], sender, recipient)]
        if b"~" in self.key:
            keys.append(whole_key(self.client, self.sender, recipient))
        return [name for name in keys if name != self.key]

    # Mail that need not wait

    def trusted(self) -> Decision | None:
        """Return the decision for a trusted client, None for others."""
        needed = self.settings.auto_whitelist
        if not needed:
            self.met = self.names
            return None
        for name in self.names:
            stored = client_key(name)
            found = self.entries.get(stored)
            if found is None:
                continue
            entry = self.counted(stored, found)
            # One that has expired counts as gone: not every store has purged it yet.
            if entry:
                self.met += (name,)
                if entry.count >= needed:
                    return self.used(stored, found, entry, "client AWL", self.clients)
        return None

    def known(self) -> Decision | None:
        """Return the decision for a sender that is known here, None for others."""
        needed = self.settings.auto_whitelist_senders
        for name in self.met if needed else ():
            stored = self.sender_key(name)
            found = self.entries.get(stored)
            entry = self.counted(stored, found)
            if found and entry and entry.count >= needed and not self.was_waiting(entry):
                return self.used(stored, found, entry, "known sender", self.senders)
        return None

    def was_waiting(self, credit: Triplet) -> bool:
        """Return whether the triplet itself has waited long enough, as it began before the credit.

        If it waits still, it is let through now and has passed: it was not stopped.
        """
        if self.now - credit.ctime > self.settings.retry_window:
            return False
        triplet, _ = self.recall(self.entries.get(self.key))
        if triplet is None or triplet.has_passed(self.settings.delay):
            return False
        if self.now - triplet.ctime >= self.settings.delay:
            return True
        self.put(self.key, triplet.again(self.now, passed=True))
        return False

    def used(
        self,
        stored: bytes,
        found: bytes,
        entry: Triplet,
        reason: str,
        names: Callable[[], list[bytes]],
    ) -> Decision:
        """Return the decision by a credit, and note once an hour that it was seen.

        Args:
            stored: the key of the credit.
            found: its value.
            entry: the same.
            reason: for the log.
            names: returns the keys of all such credits of the client, which are then seen too.
        """
        decision = Decision(PASS, "pass", reason)
        decision.key, decision.found = stored, found
        decision.age = max(0, self.now - entry.ctime)
        if not self.is_fresh(entry):
            decision.stored = entry.again(self.now).pack()
            self.count(name for name in names() if self.counted(name, self.entries.get(name)))
            self.touch()
        return decision

    def touch(self) -> None:
        """Keep the client's credit for as long as its senders', without counting a pass."""
        self.count([key for key in self.clients() if self.counted(key, self.entries.get(key))], 0)

    def credit(self) -> None:
        """Count a triplet that has passed, for the client and for its sender.

        A known sender never stands without an entry of its client's: where mail earns an identity
        nothing, the entry is there and counts nothing.
        """
        if self.settings.auto_whitelist:
            self.count(self.earning())
        if self.settings.auto_whitelist_senders:
            self.count(self.senders())
            if self.settings.auto_whitelist:
                self.count(self.clients(), 0)

    def count(self, names: Iterable[bytes], passes: int = 1) -> None:
        """Count this many passes for each of these entries, at most once an hour."""
        for name in names:
            entry = self.counted(name, self.entries.get(name))
            if entry is None:
                self.put(name, Triplet(self.now, count=passes))
            elif not self.is_fresh(entry):
                self.put(name, Triplet(entry.ctime, self.now, entry.count + passes))

    def counted(self, name: bytes, found: bytes | None) -> Triplet | None:
        """Return a credit that was found, or None when it does not count."""
        try:
            entry = None if found is None else Triplet.unpack(found)
        except ValueError:
            return None
        return None if entry is None or is_expired(name, entry, self.settings, self.now) else entry

    def is_fresh(self, entry: Triplet) -> bool:
        """Return whether an entry was seen within this hour."""
        return 0 <= self.now - entry.last_seen < HOUR

    def put(self, name: bytes, entry: Triplet) -> bytes:
        """Store an entry for as long as it counts; return its value."""
        waits = entry.passed is False  # while learning all pass
        value = entry.pack()
        self.entries.put(
            name, value, self.settings.retry_window if waits else self.settings.max_age
        )
        return value

    # Replies

    def outgoing(self) -> Decision:
        """Return the decision on mail of a user of ours, and expect its reply."""
        decision = Decision(PASS, "pass", "own user")
        user = self.request.get(b"sender")
        if user:
            normal = self.settings.normalize_sender
            correspondent = normalize(self.recipient) if normal else self.recipient
            decision.key = reply_key(correspondent, delivered(user))
            self.count([decision.key])
        return decision

    def reply(self) -> Decision | None:
        """Return the decision on a reply to a user's mail, None for other mail."""
        if not self.settings.learn_replies or not self.sender:
            return None
        stored = reply_key(self.sender, self.recipient)
        found = self.entries.get(stored)
        entry = self.counted(stored, found)
        return (
            self.used(stored, found, entry, "reply", lambda: [stored]) if found and entry else None
        )

    # Mail that waits

    def greylisted(self, full: bool) -> Decision:
        """Return the decision on the triplet, and store the attempt."""
        name, reason = self.key, ""
        found = self.entries.get(name)
        triplet, warning = self.recall(found)
        if triplet is None:
            name, found, triplet = self.former() or (name, found, None)
        shared = self.shared(triplet)
        if shared and (triplet is None or self.is_farther(shared[2], triplet)):
            name, found, triplet = shared
            reason = f", pool={self.domain.decode()}"
        if triplet is None and full and self.settings.delay:
            decision = self.deferred("new, max_entries reached", self.settings.delay)
        else:
            decision = self.judge(name, triplet, alone=shared is None)
        decision.reason += reason
        decision.key, decision.found, decision.warning = name, found or b"", warning
        return decision

    def repeated(self) -> Decision | None:
        """Return the decision on an RCPT that was deferred at this time; it is no new attempt.

        A service that stands in two restriction lists is asked twice, maybe in two seconds.
        None if what is stored does not say so: somebody has changed it.
        """
        found = self.stored()
        missing = self.settings.delay - (self.now - found[2].ctime) if found else 0
        if not found or missing <= 0:
            return None
        decision = self.deferred(f"early-retry ({missing}s missing)", missing)
        decision.key, decision.found, _ = found
        return decision

    def stored(self) -> Stored | None:
        """Return the triplet, or that of its pool; None if neither is there."""
        for name in (self.key, self.pool_key()) if self.domain else (self.key,):
            found = self.entries.get(name)
            triplet, _ = self.recall(found)
            if found and triplet:
                return name, found, triplet
        return None

    def recall(self, found: bytes | None) -> tuple[Triplet | None, str]:
        """Return the stored triplet, or None and a warning when it cannot be used."""
        if found is None:
            return None, ""
        try:
            triplet = Triplet.unpack(found)
        except ValueError:
            return None, f"ignoring stored value {found!r:.100}"
        if triplet.ctime - self.now > SKEW:
            # The clock went back: nobody is greylisted for ever.
            return None, f"ignoring first attempt in the future: {triplet.ctime}"
        return (None if is_expired(self.key, triplet, self.settings, self.now) else triplet), ""

    def former(self) -> Stored | None:
        """Return the triplet under one of its former keys, or None."""
        for name in self.former_keys():
            found = self.entries.get(name)
            triplet, _ = self.recall(found)
            if found and triplet:
                return name, found, triplet
        return None

    def shared(self, own: Triplet | None) -> Stored | None:
        """Return the triplet of the client's pool, if the client's own has not passed."""
        if not self.domain or (own and own.has_passed(self.settings.delay)):
            return None
        name = self.pool_key()
        found = self.entries.get(name)
        triplet, _ = self.recall(found)
        return (name, found, triplet) if found and triplet else None

    def is_farther(self, one: Triplet, other: Triplet) -> bool:
        """Return whether one triplet is ahead of another: it has passed, or began earlier."""
        return one.ctime < other.ctime or one.has_passed(self.settings.delay)

    def judge(self, name: bytes, before: Triplet | None, *, alone: bool) -> Decision:
        """Return the decision on one more attempt for a triplet, and store it.

        Args:
            name: the triplet's key.
            before: what was stored; None before the first attempt.
            alone: the client's pool has no such triplet.
        """
        settings, now = self.settings, self.now
        age = max(0, now - before.ctime) if before else 0
        missing = settings.delay - age
        waits = before is None or self.waits(before)
        if waits and missing <= 0 and self.was_deferred():
            return self.deferred("early-retry, asked twice", 1)
        passed = missing <= 0 or not waits
        stays = passed or settings.mode == "learn"
        after = before.again(now, stays) if before else Triplet(now, passed=stays)
        if not passed:
            reason = f"early-retry ({missing}s missing)" if before else "new"
            decision = self.deferred(reason, missing)
            if missing <= BOUNDARY:
                self.remember_deferral()
        elif waits:
            self.credit()
            decision = Decision(self.header(age), "pass", f"triplet found, delay={age}")
        else:
            decision = Decision(PASS, "pass", "triplet found")
        decision.stored, decision.age = self.put(name, after), age
        if self.domain and name == self.key:
            new_day = before is not None and before.last_seen // DAY != now // DAY
            if (waits or new_day) if passed else alone:
                self.put(self.pool_key(), after)
        return decision

    def waits(self, triplet: Triplet) -> bool:
        """Return whether this is a triplet's first attempt to be let through.

        While learning, all are; what would have been one is told by the times.
        """
        if self.settings.mode == "learn":
            return triplet.last_seen - triplet.ctime < self.settings.delay
        return not triplet.has_passed(self.settings.delay)

    def deferred(self, reason: str, missing: int) -> Decision:
        """Return the decision that defers a client.

        Args:
            reason: for the log.
            missing: the seconds that it still has to wait, for the reply.
        """
        return Decision(deferral(self.request, self.settings, missing), "greylist", reason)

    # One RCPT that is asked about twice, and one message

    def was_deferred(self) -> bool:
        """Return whether another process has deferred this very RCPT a moment ago.

        Two lists that name the service in different words have a process each.
        """
        instance = self.request.get(b"instance")
        if not instance:
            return False
        return self.entries.get(instance_key(instance, self.recipient)) is not None

    def remember_deferral(self) -> None:
        """Note that this RCPT was deferred: the delay may end while it is still asked about."""
        instance = self.request.get(b"instance")
        if instance:
            self.entries.put(instance_key(instance, self.recipient), b"%d" % self.now, DAY)

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
