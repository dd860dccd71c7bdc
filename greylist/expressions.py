"""Regular expressions, any number of them matched at once."""

from __future__ import annotations

from greylist.extensions import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any

    from greylist.whitelist import Line

re2 = extension("re2", "_re2")

_MEMORY = 64 << 20
"""Bytes that RE2 may use at most: 5,000 lines take about 10 MiB."""


def _options() -> Any:
    options = re2.RE2.Options()
    options.encoding = options.Encoding.LATIN1  # bytes, of whatever encoding
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False  # standard error is Postfix's, see filter.py
    options.max_mem = _MEMORY
    return options


def escape(text: bytes) -> bytes:
    """Return a regular expression for this text."""
    escaped: bytes = re2.RE2.QuoteMeta(text)
    return escaped


class Expressions:
    """Regular expressions about one attribute.

    RE2 matches all of them at once, in time linear in the subject's length whatever they are.
    What RE2 cannot express (look-around, back-references) is left to ``re``, line by line.
    """

    __slots__ = ("_lines", "_set", "_slow")

    def __init__(self) -> None:
        self._lines: list[Line] = []
        self._slow: list[tuple[Line, re.Pattern[bytes]]] = []
        self._set = re2.Set(re2.RE2.Anchor.UNANCHORED, _options())

    def add(self, pattern: bytes, line: Line) -> None:
        """Add an expression that stands for this line.

        Raises:
            ValueError: it is none.
        """
        if self._set.Add(pattern) >= 0:
            self._lines.append(line)
        else:
            import re  # 5 ms of start-up that most whitelists need not pay

            try:
                self._slow.append((line, re.compile(pattern, re.IGNORECASE)))
            except (re.error, RecursionError, OverflowError) as error:
                raise ValueError(str(error)) from error

    @property
    def slow(self) -> list[Line]:
        """The lines that RE2 cannot express."""
        return [line for line, _ in self._slow]

    def compile(self) -> None:
        """Make ready for matching; no more can be added."""
        if self._lines and not self._set.Compile():
            raise re2.Error("the expressions are too large")

    def match(self, subject: bytes) -> Line | None:
        """Return the first line that matches the subject, or nothing."""
        if self._lines:
            found: list[int] = self._set.Match(subject)
            if found:
                return self._lines[min(found)]
        for line, pattern in self._slow:
            if pattern.search(subject):
                return line
        return None
