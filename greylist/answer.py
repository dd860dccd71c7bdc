"""A request to a reply: settings and lists followed, screened, decided, logged.

The filter, which has one connection, and the server, which has many, share it.
"""

from __future__ import annotations

import time

from greylist.addresses import is_private_text
from greylist.decision import PASS, Decision
from greylist.expiry import Rules
from greylist.log import Log, line, quote
from greylist.policy import Attempt
from greylist.protocol import RequestError, reply
from greylist.screening import is_listed, screen
from greylist.settings import SettingsError
from greylist.store import StoreAway, StoreGone
from greylist.store.opening import opener
from greylist.whitelist.lines import rule
from greylist.whitelist.matcher import Whitelist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Entries, Store
    from greylist.whitelist.lines import Form

    Lists = dict[tuple[str, Form], Whitelist]


COUNT_EVERY = 1.0
"""Seconds between two looks at the number of entries, if there is a bound."""

TELL_EVERY = 3600.0
"""Seconds between two warnings of a process that the bound is reached."""

REMEMBERED = 1000
"""Deferred recipients that a process remembers: it may be asked about one several times."""

MAJORITY = 10
"""By so many a process's requests from one address have to exceed all others (the majority vote of
Boyer and Moore, 1981) before they are most."""


class Responder:
    """Answers requests; the store is opened when the first one needs it."""

    def __init__(self, configuration: Settings, log: Log) -> None:
        """Args: configuration: the settings; log: where to say what was decided."""
        self.log = log
        self.store: Store | None = None
        self._rules = Rules(configuration)
        self._known: Lists = {}
        self._deferred: dict[tuple[bytes, bytes, bytes], int] = {}
        self._usual: bytes | None = b""
        self._votes = 0
        self._full, self._counted, self._told = False, -COUNT_EVERY, -TELL_EVERY
        self._use(configuration)

    def _use(self, configuration: Settings) -> None:
        """Follow these settings; an open store stays open, with those that it was opened with."""
        self._full = False
        self.settings = self._rules.settings = configuration
        # Its modules are loaded now: what a filter needs for its start is loaded in one go.
        self._opener = opener(configuration.database)
        before, self._known = self._known, {}
        self.whitelists = [self._list(configuration.whitelist, rule, before)]
        self._never = [self._list(path, rule, before) for path in configuration.never_trust]
        self._own = [self._list(path, rule, before) for path in configuration.own_clients]
        self.only: list[Whitelist] = []
        clients, recipients = configuration.whitelist_clients, configuration.whitelist_recipients
        only = configuration.greylist_recipients
        if clients or recipients or only:
            from greylist.whitelist.postgrey import client_rule, recipient_rule

            self.whitelists += [self._list(path, client_rule, before) for path in clients]
            self.whitelists += [self._list(path, recipient_rule, before) for path in recipients]
            self.only = [self._list(path, recipient_rule, before) for path in only]

    def _list(self, path: str, form: Form, before: Lists) -> Whitelist:
        """Return the list for a file. One already loaded is reused: its file may be unreadable."""
        found = before.get((path, form))
        if found is None:
            own = form is rule
            expected = False
            if not own:
                from greylist.whitelist.postgrey import is_optional  # late, as the form is

                expected = not is_optional(path)
            show = self._show if own else None
            found = Whitelist(path, self.log.warning, form, expected=expected, show=show)
        self._known[path, form] = found
        return found

    def _show(self, lines: bytes) -> None:
        if self.log.verbose > 2:
            self.log.info(f"Whitelist: {line(lines[:2048])}")

    def _refresh(self) -> None:
        """Read the settings again; if they have an error, keep those in force."""
        try:
            self._use(self.settings.reread())
        except SettingsError as error:
            self.log.warning(f"{error}; keeping the settings as they were")
        except OSError as error:
            self.log.warning(
                f"cannot read {error.filename}: {error.strerror}; keeping the settings as they were"
            )
        self.log.configure(self.settings)

    def answer(self, request: Request) -> bytes:
        """Return the reply to a request.

        Raises:
            RequestError: the request is of a type that is not known.
            StoreError: the database cannot be used.
        """
        self._follow()
        decision = self._screened(request)
        if decision is None:
            [decision] = self._stored([request])
        if isinstance(decision, RequestError):
            raise decision
        self._note(request, decision)
        return reply(decision.action)

    def decide_all(self, requests: list[Request]) -> list[Decision | RequestError]:
        """Return the decisions on requests, made in one transaction, and log them.

        A request of a type that is not known has the error in its place.

        Raises:
            StoreError: the database cannot be used; nothing is stored or logged.
        """
        self._follow()
        decisions = [self._screened(request) for request in requests]
        undecided = [request for request, one in zip(requests, decisions, strict=True) if not one]
        stored = iter(self._stored(undecided) if undecided else ())
        decided = [one or next(stored) for one in decisions]
        for request, decision in zip(requests, decided, strict=True):
            if not isinstance(decision, RequestError):
                self._note(request, decision)
        return decided

    def _follow(self) -> None:
        """Follow the settings' file, if there is one and it has changed."""
        file = self.settings.file
        if file and file.changed():
            self._refresh()

    def _note(self, request: Request, decision: Decision) -> None:
        """Log a decision, and watch where the requests come from."""
        self.log.decision(request, decision)
        self._watch(request.get(b"client_address", b""))

    def _screened(self, request: Request) -> Decision | RequestError | None:
        """Return a decision that needs no stored entry, or an error; None if entries are needed."""
        if self.log.verbose > 2:
            for name, value in request.items():
                self.log.info(f"Attribute: {quote(name)}={quote(value)}")
        kind = request.get(b"request", b"")
        if kind != b"smtpd_access_policy":
            return RequestError(f"unrecognized request type: '{quote(kind, 100)}'")
        return self.screen(request)

    def _stored(self, requests: list[Request]) -> list[Decision]:
        """Return the decisions on requests that ``screen`` let through."""
        store = self.store or self.open()
        if self.settings.max_entries:
            self._count(store, time.monotonic())
        attempts = [self._attempt(request) for request in requests]

        def decide(entries: Entries) -> list[Decision]:
            # The clock is read under the lock: requests are in the order of their times.
            now = int(time.time())
            return [attempt.decide(entries, now, full=self._full) for attempt in attempts]

        try:
            decisions = store.transact(
                decide, (key for attempt in attempts for key in attempt.hint())
            )
        except StoreGone:
            # Not closed: that would write into what stands in its place.
            self.store = None
            raise
        except StoreAway:
            # Hanging up would cost Postfix a second and a new process for each mail.
            return [Decision(PASS, "pass", "database away") for _ in requests]
        for attempt, decision in zip(attempts, decisions, strict=True):
            if decision.verdict == "greylist" and attempt.request.get(b"instance"):
                self._remember(attempt)
        return decisions

    def _remember(self, attempt: Attempt) -> None:
        """Remember when an RCPT was deferred, of a message that Postfix has a name for."""
        if len(self._deferred) >= REMEMBERED:
            self._deferred.clear()
        self._deferred.setdefault(_command(attempt.request), attempt.now)

    def screen(self, request: Request) -> Decision | None:
        """Return the decision if it needs no stored entry, else None."""
        own = self._is_own(request)
        return screen(request, self.settings, self.whitelists, self.only, own=own)

    def decide(self, request: Request, entries: Entries, now: int) -> Decision:
        """Return the decision for a request that ``screen`` let through.

        Args:
            request: has a client address and a recipient.
            entries: the stored ones; the attempt is put there.
            now: seconds since the epoch.
        """
        return self._attempt(request).decide(entries, now, full=self._full)

    def _attempt(self, request: Request) -> Attempt:
        trusting = not (self._never and is_listed(request, self._never))
        own = self._is_own(request)
        # Asked again about one RCPT, the answer is as of the first time.
        asked = self._deferred.get(_command(request), 0) if self._deferred else 0
        return Attempt(request, self.settings, trusting=trusting, own=own, asked=asked)

    def _count(self, store: Store, now: float) -> None:
        """Find out, now and then, whether there is room for new triplets; say so once an hour."""
        most = self.settings.max_entries
        if now - self._counted < COUNT_EVERY:
            return
        self._counted = now
        try:
            count = store.count(most)
        except StoreAway:
            return
        self._full = count >= most
        if self._full and now - self._told >= TELL_EVERY:
            self._told = now
            self.log.warning(
                f"about {count} entries, of max_entries = {most}: new triplets are deferred, but "
                "not stored, until others expire"
            )

    def _is_own(self, request: Request) -> bool:
        """Return whether it is mail of our own users, whose replies are to be let through."""
        if not self.settings.learn_replies:
            return False
        if request.get(b"sasl_username"):
            return True
        client = request.get(b"client_address") and request.get(b"recipient")
        return bool(client and is_listed(request, self._own))

    def _watch(self, address: bytes) -> None:
        """Say so, once, if most requests come from one private address: see MAJORITY."""
        if address == self._usual:
            self._votes += 1
            if self._votes == MAJORITY and is_private_text(address):
                self._usual = None
                self.log.warning(
                    f"most requests come from {quote(address)}, a private address, which is never "
                    "trusted: if a gateway, NAT or a proxy hides the clients, Postfix needs their "
                    "addresses (PROXY protocol, XCLIENT)"
                )
        elif self._votes > 0:
            self._votes -= 1
        elif self._usual is not None:
            self._usual, self._votes = address, 1

    def open(self) -> Store:
        """Open the store that the settings name; root becomes the owner of a database's directory.

        Raises:
            StoreError: it cannot be used.
        """
        self.store = self._opener(self.settings, self.log, self._rules, _load_late)
        return self.store

    def garbage(self, line: bytes) -> None:
        """Log a line that is no attribute."""
        self.log.warning(f"ignoring garbage: {quote(line, 100)}")


def _command(request: Request) -> tuple[bytes, bytes, bytes]:
    """Return what tells one RCPT from all others: client, message and recipient."""
    return request[b"client_address"], request.get(b"instance", b""), request[b"recipient"]


def _load_late() -> None:
    """Load the modules that may be needed later: another user may not be able to read them."""
    import greylist.local_domains
    import greylist.sender_schemes
    import greylist.whitelist.regex  # noqa: F401
    from greylist.public_suffix import keep_open

    keep_open()
