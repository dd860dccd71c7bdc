"""The rules of greylisting: from a request and what is stored to an action.

A client that has not been seen before with this sender and recipient is asked to come back
(RFC 6647, section 2); one that does so after the delay is let through. Everything here is a
function of its arguments: no clock is read and no file is touched.
"""

from __future__ import annotations

from greylist.triplet import Triplet, key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Entries
    from greylist.whitelist import Whitelist

PASS = b"dunno"
"""Not ``ok``: the restrictions after ours still apply (Postfix, access(5))."""


class Decision:
    """An action for Postfix, and why.

    Attributes:
        action: the text after ``action=``.
        verdict: ``greylist`` or ``pass``, for the log.
        reason: why, for the log, in postgrey's words where it has any.
        key: the text that was looked up, empty when nothing was.
        found: the value stored before, empty when there was none.
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


def screen(request: Request, whitelist: Whitelist) -> Decision | None:
    """Return the decision when it needs no stored entry, otherwise nothing."""
    client = request.get(b"client_address")
    recipient = request.get(b"recipient")
    if not client or not recipient:
        # Postfix sends no recipient at DATA and END-OF-MESSAGE when the mail has several.
        missing = "recipient" if client else "client_address"
        warning = f"request without {missing}: check_policy_service belongs in "
        warning += "smtpd_recipient_restrictions"
        return Decision(PASS, "pass", f"no {missing}", warning)
    subject = b"%s/%s/%s" % (client, request.get(b"sender", b""), recipient)
    pattern = whitelist.match(subject.lower())
    if pattern is not None:
        decision = Decision(PASS, "pass", "client whitelist")
        decision.key, decision.found = subject.lower(), pattern
        return decision
    return None


def decide(request: Request, entries: Entries, settings: Settings, now: int) -> Decision:
    """Return the decision for a request that ``screen`` let through, and store the attempt.

    Args:
        request: has a client address and a recipient.
        entries: what is stored; the attempt is put there.
        settings: the delay and the reply.
        now: seconds since the epoch.
    """
    name = key(request[b"client_address"], request.get(b"sender", b""), request[b"recipient"])
    found = entries.get(name)
    triplet, warning = _recall(found, now)
    first_pass = triplet is not None and triplet.last_seen - triplet.ctime < settings.delay
    if triplet is None:
        triplet = Triplet(now)
    else:
        triplet.atime = now
        triplet.count += 1
    stored = triplet.pack()
    entries.put(name, stored)

    age = now - triplet.ctime
    missing = settings.delay - age
    if missing > 0:
        reason = f"early-retry ({missing}s missing)" if triplet.count else "new"
        decision = Decision(settings.defer, "greylist", reason, warning)
    elif first_pass:
        decision = Decision(PASS, "pass", f"triplet found, delay={age}", warning)
    else:
        decision = Decision(PASS, "pass", "triplet found", warning)
    decision.key, decision.found, decision.stored, decision.age = name, found or b"", stored, age
    return decision


def _recall(found: bytes | None, now: int) -> tuple[Triplet | None, str]:
    """Return the stored triplet, or nothing and a warning when it is of no use."""
    if found is None:
        return None, ""
    try:
        triplet = Triplet.unpack(found)
    except ValueError:
        return None, f"ignoring stored value {found!r:.100}"
    if triplet.ctime > now:
        # The clock went back: nobody is greylisted for ever.
        return None, f"ignoring first attempt in the future: {triplet.ctime}"
    return triplet, ""


def state_of(key: bytes, value: bytes, settings: Settings, now: int) -> str:
    """Return the state of an entry: ``waiting``, ``passed`` or ``other``."""
    if key.startswith(b"/"):
        return "other"
    triplet, _ = _recall(value, now)
    if triplet is None:
        return "other"
    return "passed" if triplet.last_seen - triplet.ctime >= settings.delay else "waiting"
