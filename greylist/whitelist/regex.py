"""Regular expressions, any number of them matched at once."""

from __future__ import annotations

from greylist.native import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any

    from greylist.whitelist.lines import Line

re2 = extension("re2", "_re2")

_MEMORY = 64 << 20
"""Bytes that RE2 may use for a set at most: 5,000 lines take about 10 MiB."""


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


class _Set:
    """Expressions that RE2 matches at once."""

    __slots__ = ("lines", "patterns", "set")

    def __init__(self) -> None:
        self.set = re2.Set(re2.RE2.Anchor.UNANCHORED, _options())
        self.lines: list[Line] = []
        self.patterns: list[bytes] = []

    def add(self, pattern: bytes, line: Line) -> bool:
        """Add an expression, if RE2 can express it; return whether it can."""
        if self.set.Add(pattern) < 0:
            return False
        self.patterns.append(pattern)
        self.lines.append(line)
        return True

    def halves(self) -> tuple[_Set, _Set]:
        """Return two sets with half of the lines each."""
        first, second = _Set(), _Set()
        middle = len(self.lines) // 2
        for number, line in enumerate(self.lines):
            (first if number < middle else second).add(self.patterns[number], line)
        return first, second


class Expressions:
    """Regular expressions about one attribute.

    RE2 matches all of them at once, in time linear in the subject's length whatever they are; tens
    of thousands in several sets, one after the other. What RE2 cannot express (look-around,
    back-references) is left to ``re``, line by line.
    """

    __slots__ = ("_added", "_sets", "_slow")

    def __init__(self) -> None:
        self._added = _Set()
        self._sets: list[_Set] = []
        self._slow: list[tuple[Line, re.Pattern[bytes]]] = []

    def add(self, pattern: bytes, line: Line) -> None:
        """Add an expression that stands for this line.

        Raises:
            ValueError: it is none.
        """
        if not self._added.add(pattern, line):
            self._leave(pattern, line)

    def _leave(self, pattern: bytes, line: Line) -> None:
        """Leave an expression to ``re``."""
        import re  # 5 ms of start-up that most whitelists need not pay

        try:
            self._slow.append((line, re.compile(pattern, re.IGNORECASE)))
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from error

    @property
    def slow(self) -> list[Line]:
        """The lines that RE2 cannot express."""
        return [line for line, _ in self._slow]

    def compile(self) -> list[tuple[Line, str]]:
        """Make ready for matching; return the lines for which there is no way, and why."""
        failed = []
        pending = [self._added] if self._added.lines else []
        while pending:
            one = pending.pop(0)
            if one.set.Compile():
                one.patterns.clear()
                self._sets.append(one)
            elif len(one.lines) > 1:
                pending[:0] = one.halves()
            else:
                try:
                    self._leave(one.patterns[0], one.lines[0])
                except ValueError as error:
                    failed.append((one.lines[0], str(error)))
        return failed

    def match(self, subject: bytes) -> Line | None:
        """Return the first line that matches the subject, or nothing."""
        for one in self._sets:
            found: list[int] = one.set.Match(subject)
            if found:
                return one.lines[min(found)]
        for line, pattern in self._slow:
            if pattern.search(subject):
                return line
        return None
