"""The ``nogreylist`` file: who is never greylisted.

One regular expression a line, matched without anchors and ignoring case against
``client_address/sender/recipient``. A ``#`` in column 1 starts a comment; blank lines are
nothing. An empty or missing file whitelists nobody (in the original, everybody).
"""

from __future__ import annotations

import os
import stat

import re2

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Callable

_MEMORY = 64 << 20
"""Bytes that RE2 may use at most: 5,000 lines take about 10 MiB."""


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes, of whatever encoding
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False  # standard error is Postfix's, see filter.py
    options.max_mem = _MEMORY
    return options


class Patterns:
    """Compiled lines of a whitelist, the bad ones left out.

    RE2 matches all lines at once, in time linear in the subject's length whatever they are.
    What RE2 cannot express (look-around, back-references) is left to ``re``, line by line.

    Attributes:
        errors: ``(line number, reason)`` of each line that is left out.
    """

    __slots__ = ("_lines", "_set", "_slow", "errors")

    def __init__(self, text: bytes) -> None:
        self.errors: list[tuple[int, str]] = []
        self._lines: list[bytes] = []
        self._slow: list[tuple[bytes, re.Pattern[bytes]]] = []
        self._set = re2.Set.SearchSet(_options())
        for number, line in enumerate(text.split(b"\n"), 1):
            pattern = line.rstrip()
            if pattern and not pattern.startswith(b"#"):
                self._add(number, pattern)
        if self._lines:
            self._set.Compile()

    def _add(self, number: int, pattern: bytes) -> None:
        try:
            self._set.Add(pattern)
        except re2.error:
            import re  # 5 ms of start-up that most whitelists need not pay

            try:
                self._slow.append((pattern, re.compile(pattern, re.IGNORECASE)))
            except (re.error, RecursionError, OverflowError) as error:
                self.errors.append((number, str(error)))
        else:
            self._lines.append(pattern)

    @property
    def slow(self) -> list[bytes]:
        """The lines that RE2 cannot express."""
        return [line for line, _ in self._slow]

    def match(self, subject: bytes) -> bytes | None:
        """Return the first line that matches the subject, or nothing."""
        if self._lines:
            found: list[int] | None = self._set.Match(subject)
            if found:
                return self._lines[min(found)]
        for line, pattern in self._slow:
            if pattern.search(subject):
                return line
        return None


class Whitelist:
    """A whitelist file that is read again when it changes."""

    __slots__ = ("_path", "_patterns", "_seen", "_warn")

    def __init__(self, path: str, warn: Callable[[str], object]) -> None:
        """Args: path: the file; warn: is told what is wrong with it, a line at a time."""
        self._path = path
        self._warn = warn
        self._patterns = Patterns(b"")
        self._seen: object = None

    def match(self, subject: bytes) -> bytes | None:
        """Return the line of the file as it is now that matches the subject, or nothing."""
        try:
            status = os.stat(self._path)
            seen: object = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        except OSError as error:
            seen = error.errno
        if seen != self._seen:
            self._seen = seen
            self._load()
        return self._patterns.match(subject)

    def _load(self) -> None:
        try:
            text = _read(self._path)
        except FileNotFoundError:
            text = b""
        except OSError as error:
            self._warn(f"cannot read {self._path}: {error.strerror}; keeping the list as it was")
            return
        self._patterns = Patterns(text)
        name = os.path.basename(self._path)
        for number, reason in self._patterns.errors:
            self._warn(f"{name}:{number}: {reason}; line left out")


def _read(path: str) -> bytes:
    """Return a regular file's content; a FIFO in its place must not hang the filter."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(22, "not a regular file")
        return file.read()
