"""Syslog lines, and the quoting that keeps a value from forging one."""

from __future__ import annotations

import os
import sys
import syslog
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.decision import Decision
    from greylist.protocol import Request
    from greylist.settings import Settings

_SOCKET = "/dev/log"

ROOM_WAIT = 0.1
"""Seconds for which a line waits for room in a pipe that is standard error."""

LINE = 4096
"""Bytes of a line to standard error: as many fit into a pipe that can be written to."""

_PLAIN = bytes(code for code in range(0x21, 0x7F) if chr(code) not in "\\*?[")
"""The bytes that stand for themselves; a backslash escapes, the others mean more in a pattern."""


def quote(value: bytes, limit: int = 512) -> str:
    r"""Return a value as it stands in a log line and in a list, at most ``limit`` bytes of it.

    quoted :== *(visible character | "\\" | "\x" two hexadecimal digits)

    ``unquote`` returns the value: whatever a client sends, no value ends a line, passes for a
    further attribute or for another value, or stands for more than itself in a selector.
    """
    value = value[:limit]
    if not value.translate(None, _PLAIN):
        return value.decode("ascii")
    return "".join(map(_escaped, value.decode("utf-8", "surrogateescape")))


def _escaped(character: str) -> str:
    """Return a character as it is quoted; a byte that is no UTF-8 is a surrogate here."""
    if character == "\\":
        return "\\\\"
    if character.isprintable() and character not in " *?[":
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def unquote(text: bytes) -> bytes:
    """Return the value that ``quote`` shows as this text, in UTF-8.

    A backslash that begins no escape stands for itself, as a person may type it.
    """
    if b"\\" not in text:
        return text
    first, *parts = text.split(b"\\")
    value, at = first, 0
    while at < len(parts):
        part = parts[at]
        if not part and at + 1 < len(parts):  # two in a row
            at += 1
            value += b"\\" + parts[at]
        else:
            value += _byte(part)
        at += 1
    return value


def _byte(part: bytes) -> bytes:
    """Return what a backslash and this text stand for."""
    digits = part[1:3]
    if part[:1] == b"x" and len(digits) == 2 and not digits.strip(b"0123456789abcdefABCDEF"):
        return bytes([int(digits, 16)]) + part[3:]
    return b"\\" + part


class Log:
    """Where the lines go: syslog, standard error or a file, and a person's terminal as well.

    A warning that no syslog daemon takes goes to standard error.
    """

    __slots__ = ("_dropped", "_echo", "_name", "_said", "_target", "facility", "quiet", "verbose")

    def __init__(self) -> None:
        self.facility = "mail"
        self.verbose = 0
        self.quiet = False
        self._target = "syslog"
        self._name = "greylist"
        self._echo = False
        self._said: set[str] = set()
        self._dropped: int | None = None
        self._open()

    def configure(self, settings: Settings) -> None:
        """Log where and how much these settings say, from now on."""
        self.verbose = settings.verbose
        self.quiet = settings.quiet
        self._name = settings.syslog_name
        self._target = settings.log
        if self._target == "stderr" and self._dropped is None:
            self._dropped = 0
        self.use(settings.syslog_facility)
        if self._target == "stderr" and _is_null(2):
            self._target = "syslog"
            self.warning("log = stderr, but standard error is the policy socket: logging to syslog")

    def use(self, facility: str) -> None:
        """Log to this facility from now on."""
        self.facility = facility
        self._open()

    def _open(self) -> None:
        code = getattr(syslog, f"LOG_{self.facility.upper()}")
        syslog.openlog(self._name, syslog.LOG_PID, code)

    def to_stderr(self, only: bool = False) -> None:
        """Log to standard error too, or to nowhere else."""
        self._echo = True
        if only:
            self._target = "stderr"

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
        echo = self._echo or self._target == "stderr"
        if self._target == "syslog":
            syslog.syslog(priority, text)
            echo = echo or (priority != syslog.LOG_INFO and not os.path.exists(_SOCKET))
        elif self._target != "stderr":
            _append(self._target, f"{self._name}[{os.getpid()}]: {text}")
        if self._dropped is not None and self._target == "stderr":
            self._tell(f"{self._name}: {text}")
        elif echo and sys.stderr:  # none where it was closed at the start
            try:
                print(f"{self._name}: {text}", file=sys.stderr, flush=True)  # noqa: T201
            except OSError:
                pass  # a full disk, which is in syslog already: requests go on

    def _tell(self, text: str) -> None:
        """Write a line to standard error, unless nobody reads it: no request waits for that."""
        import select  # only where this is wanted

        if not select.select([], [2], [], 0 if self._dropped else ROOM_WAIT)[1]:
            self._dropped = (self._dropped or 0) + 1
            return
        if self._dropped:
            text = f"{self._name}: warning: {self._dropped} lines are missing here\n{text}"
        self._dropped = 0
        try:
            os.write(2, text.encode(errors="backslashreplace")[: LINE - 1] + b"\n")
        except OSError:
            pass  # its reader has gone

    def decision(self, request: Request, decision: Decision) -> None:
        """Log a decision in postgrey's form; what is about the configuration, once."""
        if decision.once:
            if decision.reason in self._said:
                return
            self._said.add(decision.reason)
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
            count = int(decision.stored.rpartition(b"/")[2])
            self.info(f"{name}: {stored}, age {decision.age}, count {count}")
        elif decision.key:
            self.info(f"whitelisted: {quote(decision.key, 2048)} as {line(decision.found)}")
        if self.verbose > 1:
            self.info(f"Action: {decision.action.decode(errors='backslashreplace')}")


def _append(path: str, text: str) -> None:
    """Add a line to a file, which is opened for each so that it can be rotated at any time.

    Where it cannot be written, the line goes to syslog.
    """
    now = time.localtime()
    zone = time.strftime("%z", now)
    stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', now)}{zone[:3]}:{zone[3:]}"
    entry = f"{stamp} {os.uname().nodename} {text}\n".encode(errors="backslashreplace")
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, 0o640)
        try:
            os.write(descriptor, entry)
        finally:
            os.close(descriptor)
    except OSError as error:
        syslog.syslog(syslog.LOG_WARNING, f"warning: cannot log to {path}: {error.strerror}")
        syslog.syslog(syslog.LOG_INFO, text)


def _is_null(descriptor: int) -> bool:
    """Return whether a descriptor is /dev/null."""
    return os.fstat(descriptor).st_rdev == os.stat("/dev/null").st_rdev


def line(value: bytes) -> str:
    """Return a line of an administrator's own file as it stands there, if it can be printed."""
    return _one_line(value.decode(errors="backslashreplace"))


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


def place_of(error: BaseException) -> str:
    """Return the file and line where an exception was raised, and the exception."""
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    where = "?"
    if trace:
        where = f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}"
    return f"{where}: {error!r}"
