"""One connection: requests in, actions out. In trouble: log, and hang up without a reply.

Postfix asks for that (SMTPD_POLICY_README, "Simple policy client/server configuration"): a
server that hangs up is asked again a second later, and then the ``default_action`` of
main.cf decides, not a failure that looks like an answer.
"""

from __future__ import annotations

import os
import stat
import time

from greylist import policy, settings
from greylist.log import Log, quote
from greylist.protocol import RequestError, read_requests, reply
from greylist.settings import SettingsError
from greylist.store import StoreError
from greylist.store.berkeley.locks import KernelLock
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.store import BerkeleyStore
from greylist.whitelist.whitelist import Whitelist, rule

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import NoReturn

    from greylist.policy import Decision
    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Store
    from greylist.whitelist.whitelist import Form

    Lists = dict[tuple[str, Form], Whitelist]
else:
    import _signal as signal

_READ = 65536
_HINT = (
    "greylist: type a request as name=value lines, then an empty line (see --help); Control-D ends"
)


class Filter:
    """Answers requests; the store is opened when the first one needs it."""

    def __init__(self, configuration: Settings, log: Log) -> None:
        """Args: configuration: the settings; log: where to say what was decided."""
        self.log = log
        self.store: Store | None = None
        self._known: Lists = {}
        self._use(configuration)

    def _use(self, configuration: Settings) -> None:
        """Follow these settings; an open store stays open, with those that it was opened with."""
        self.settings = configuration
        before, self._known = self._known, {}
        self.whitelist = self._list(configuration.whitelist, rule, before)
        self.lists: list[Whitelist] = []
        self.only: list[Whitelist] = []
        clients, recipients = configuration.whitelist_clients, configuration.whitelist_recipients
        only = configuration.greylist_recipients
        if clients or recipients or only:
            from greylist.whitelist.postgrey import client_rule, recipient_rule

            self.lists = [self._list(path, client_rule, before) for path in clients]
            self.lists += [self._list(path, recipient_rule, before) for path in recipients]
            self.only = [self._list(path, recipient_rule, before) for path in only]

    def _list(self, path: str, form: Form, before: Lists) -> Whitelist:
        """Return the list in a file: the one that there was, as it may be unreadable by now."""
        found = before.get((path, form))
        if found is None:
            own = form is rule
            # As in postgrey, a file for local additions need not be there.
            expected = not own and not path.endswith(".local")
            show = self._show if own else None
            found = Whitelist(path, self.log.warning, form, expected=expected, show=show)
        self._known[path, form] = found
        return found

    def _show(self, lines: bytes) -> None:
        if self.log.verbose > 2:
            self.log.info(f"Whitelist: {quote(lines, 2048)}")

    def _refresh(self) -> None:
        """Read the settings again; with an error in them, keep those that there are."""
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
        file = self.settings.file
        if file and file.changed():
            self._refresh()
        if self.log.verbose > 2:
            for name, value in request.items():
                self.log.info(f"Attribute: {quote(name)}={quote(value)}")
        kind = request.get(b"request", b"")
        if kind != b"smtpd_access_policy":
            raise RequestError(f"unrecognized request type: '{quote(kind, 100)}'")
        decision = self.screen(request)
        if decision is None:
            store = self.store or self._open()
            # The clock is read under the lock: requests are in the order of their times.
            decision = store.transact(
                lambda entries: policy.decide(request, entries, self.settings, int(time.time()))
            )
        self.log.decision(request, decision)
        return reply(decision.action)

    def screen(self, request: Request) -> Decision | None:
        """Return the decision when it needs no stored entry, otherwise nothing."""
        return policy.screen(
            request, self.whitelist, *self.lists, only=self.only, mode=self.settings.mode
        )

    def _open(self) -> Store:
        path = self.settings.database
        check(path)
        lock = KernelLock(lock_path(path), self.settings.lock_timeout)
        self.store = BerkeleyStore(path, lock, self.log, self.settings.durable)
        if self.log.verbose > 2:
            self.log.info(f"open {path}")
        return self.store

    def garbage(self, line: bytes) -> None:
        """Log a line that is no attribute."""
        self.log.warning(f"ignoring garbage: {quote(line, 100)}")


class Connection:
    """Standard input and output, and the end that a signal asks for."""

    def __init__(self) -> None:
        self._waiting = False
        self._ended = False

    def read(self) -> bytes:
        """Return the next bytes, or none at the end of the connection."""
        if self._ended:
            return b""
        self._waiting = True
        try:
            return b"" if self._ended else os.read(0, _READ)
        except (ConnectionResetError, InterruptedError):
            return b""
        finally:
            self._waiting = False

    def end(self, signum: int, frame: FrameType | None) -> None:
        """End between two requests; as a signal's handler."""
        self._ended = True
        if self._waiting:
            raise InterruptedError

    @staticmethod
    def write(data: bytes) -> None:
        """Write all of it, in one piece if the kernel takes it so."""
        while data:
            data = data[os.write(1, data) :]


def serve(filter: Filter, connection: Connection) -> int:
    """Serve a connection to its end, and return the exit status."""
    status = 0
    try:
        for request in read_requests(connection.read, filter.garbage):
            connection.write(filter.answer(request))
    except RequestError as error:
        filter.log.fatal(str(error))
        status = 1
    except (BrokenPipeError, ConnectionResetError):
        pass  # the client has what it wanted, or has gone
    if filter.store:
        filter.store.close()
    return status


def main(configuration: Settings | None = None, log: Log | None = None) -> NoReturn:
    """Serve standard input with these settings, or those of the file, and end the process."""
    status = 1
    _guard_descriptors()
    if log is None or not log.only_stderr:
        _take_stderr_off_the_wire()
    log = log or Log()
    if os.isatty(2):
        log.to_stderr(log.only_stderr)
    try:
        configuration = configuration or settings.load()
        configuration.check()
        log.configure(configuration)
        connection = Connection()
        signal.signal(signal.SIGTERM, connection.end)
        if os.isatty(0) and os.isatty(2):
            os.write(2, _HINT.encode() + b"\n")
        status = serve(Filter(configuration, log), connection)
    except (SettingsError, StoreError, OSError) as error:
        log.fatal(str(error))
    except KeyboardInterrupt:
        status = 130
    except Exception as error:  # noqa: BLE001 - under spawn nobody would ever see it
        log.fatal(f"{_place(error)}: {error!r}")
    finally:
        # No destructor runs: closing a database that is not ours any more would damage it.
        os._exit(status)


def is_spawned() -> bool:
    """Return whether standard output and standard error are one socket, as under spawn(8)."""
    try:
        return os.path.sameopenfile(1, 2) and stat.S_ISSOCK(os.fstat(2).st_mode)
    except OSError:  # closed
        return False


def _guard_descriptors() -> None:
    """Keep 0 to 2 from meaning anything else.

    A closed one would be taken by the next file opened, which may be the database.
    """
    null = os.open("/dev/null", os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    os.close(null)


def _take_stderr_off_the_wire() -> None:
    """Part standard error from standard output.

    spawn(8) makes the policy socket both, and a traceback there would be a broken reply.
    """
    if not os.isatty(2) and os.path.sameopenfile(1, 2):
        null = os.open("/dev/null", os.O_WRONLY)
        os.dup2(null, 2)
        os.close(null)


def _place(error: BaseException) -> str:
    """Return the file and line where an exception was raised."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return "?"
    name = os.path.basename(trace.tb_frame.f_code.co_filename)
    return f"{name}:{trace.tb_lineno}"
