"""Syslog lines, and the quoting that keeps a value from forging one."""

from __future__ import annotations

import sys
import syslog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.policy import Decision
    from greylist.protocol import Request
    from greylist.settings import Settings

_PLAIN = bytes(code for code in range(0x21, 0x7F))
"""The bytes that stand for themselves in any log."""


def quote(value: bytes, limit: int = 512) -> str:
    """Return a value as it stands in a log line, at most ``limit`` bytes of it.

    A value with a control byte, white space or invalid UTF-8 is escaped as in Python, so that
    no value can end a line or pass for a further attribute.
    """
    value = value[:limit]
    if not value.translate(None, _PLAIN):
        return value.decode("ascii")
    try:
        text = value.decode()
        if text.isprintable() and " " not in text:
            return text
    except UnicodeDecodeError:
        pass
    return repr(value)[2:-1].replace(" ", "\\x20")


class Log:
    """Where the filter's lines go: syslog, and standard error for a person who watches."""

    __slots__ = ("_echo", "facility", "only_stderr", "quiet", "verbose")

    def __init__(self) -> None:
        self.facility = "mail"
        self.verbose = 0
        self.quiet = False
        self.only_stderr = False
        self._echo = False
        syslog.openlog("greylist", syslog.LOG_PID, syslog.LOG_MAIL)

    def configure(self, settings: Settings) -> None:
        """Log where and how much these settings say, from now on."""
        self.verbose = settings.verbose
        self.quiet = settings.quiet
        self.use(settings.syslog_facility)

    def use(self, facility: str) -> None:
        """Log to this facility from now on."""
        self.facility = facility
        code = getattr(syslog, f"LOG_{facility.upper()}")
        syslog.openlog("greylist", syslog.LOG_PID, code)

    def to_stderr(self, only: bool = False) -> None:
        """Log to standard error too, or to nowhere else."""
        self._echo = True
        self.only_stderr = only

    def info(self, text: str) -> None:
        """Log what an administrator may want to know."""
        self._write(syslog.LOG_INFO, text)

    def warning(self, text: str) -> None:
        """Log what an administrator should look at."""
        self._write(syslog.LOG_WARNING, "warning: " + _one_line(text))

    def fatal(self, text: str) -> None:
        """Log why the filter ends."""
        self._write(syslog.LOG_ERR, "fatal: " + _one_line(text))

    def _write(self, priority: int, text: str) -> None:
        if not self.only_stderr:
            syslog.syslog(priority, text)
        if self._echo:
            print(f"greylist: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def decision(self, request: Request, decision: Decision) -> None:
        """Log a decision in postgrey's form."""
        if decision.warning:
            self.warning(f"{decision.warning} ({_attributes(request)})")
        if self.quiet:
            return
        queue_id = request.get(b"queue_id")
        text = f"action={decision.verdict}, reason={decision.reason}, {_attributes(request)}"
        self.info(f"{quote(queue_id)}: {text}" if queue_id else text)
        if self.verbose:
            self._details(decision)

    def _details(self, decision: Decision) -> None:
        """Log what the original logs at its levels 1 and 2."""
        if decision.stored:
            name, stored = quote(decision.key, 2048), quote(decision.stored)
            if self.verbose > 1:
                found = quote(decision.found) if decision.found else "0/0/0"
                self.info(f"lookup {name}: {found}")
            count = decision.stored.rpartition(b"/")[2].decode()
            self.info(f"{name}: {stored}, age {decision.age}, count {count}")
        elif decision.key:
            self.info(f"whitelisted: {quote(decision.key, 2048)} as {quote(decision.found)}")
        if self.verbose > 1:
            self.info(f"Action: {decision.action.decode(errors='backslashreplace')}")


def _one_line(text: str) -> str:
    """Return a text from elsewhere (an error, a process' name) so that it cannot end its line."""
    return text if text.isprintable() else repr(text)[1:-1]


def _attributes(request: Request) -> str:
    """Return the attributes of a decision's line; as in postgrey, empty ones are left out."""
    return ", ".join(
        [
            f"{name.decode()}={quote(request[name])}"
            for name in (b"client_name", b"client_address", b"sender", b"recipient")
            if request.get(name)
        ]
    )
