"""Regular expressions, any number of them matched at once."""

from __future__ import annotations

from greylist.native import extension

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from typing import Any

try:
    re2 = extension("re2", "_re2")
except ImportError:
    # A new Python of the system, for which there is no extension yet: slower, but the list holds.
    re2 = None

_MEMORY = 64 << 20
"""Bytes that RE2 may use for a set at most: 5,000 lines take about 10 MiB."""


_CLASSES = {
    b"[:digit:]": b"0-9",
    b"[:alpha:]": b"a-zA-Z",
    b"[:alnum:]": b"a-zA-Z0-9",
    b"[:lower:]": b"a-z",
    b"[:upper:]": b"A-Z",
    b"[:xdigit:]": b"0-9a-fA-F",
    b"[:word:]": rb"\w",
    b"[:space:]": rb"\s",
    b"[:blank:]": rb" \t",
    b"[:punct:]": rb"!-/:-@\[-`{-~",
}
"""What RE2 and POSIX have within brackets, in the words of ``re``, which has none."""


def _options(*, utf8: bool) -> Any:
    options = re2.RE2.Options()
    encodings = options.Encoding
    options.encoding = encodings.UTF8 if utf8 else encodings.LATIN1  # bytes, of whatever encoding
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False  # standard error is Postfix's, see filter.py
    options.max_mem = _MEMORY
    return options


def escape(text: bytes) -> bytes:
    """Return a regular expression for this text."""
    if re2 is None:
        import re  # 5 ms, where RE2 is missing only

        return re.escape(text)
    escaped: bytes = re2.RE2.QuoteMeta(text)
    return escaped


class _Set:
    """Expressions that RE2 matches at once."""

    __slots__ = ("numbers", "patterns", "set")

    def __init__(self, *, utf8: bool = False) -> None:
        self.set = re2 and re2.Set(re2.RE2.Anchor.UNANCHORED, _options(utf8=utf8))
        self.numbers: list[int] = []
        self.patterns: list[bytes] = []

    def add(self, pattern: bytes, number: int) -> bool:
        """Add an expression, if RE2 can express it; return whether it can."""
        if self.set is None or self.set.Add(pattern) < 0:
            return False
        self.patterns.append(pattern)
        self.numbers.append(number)
        return True

    def halves(self) -> tuple[_Set, _Set]:
        """Return two sets with half of the expressions each."""
        first, second = _Set(), _Set()
        middle = len(self.numbers) // 2
        for place, number in enumerate(self.numbers):
            (first if place < middle else second).add(self.patterns[place], number)
        return first, second


class Expressions:
    """Regular expressions about one attribute, each with the number of the line that it is from.

    RE2 matches all of them at once, in time linear in the subject's length whatever they are; tens
    of thousands in several sets, one after the other. What RE2 cannot express (look-around,
    back-references) is left to ``re``, line by line, and there a letter is its bytes.
    """

    __slots__ = ("_added", "_letters", "_patterns", "_sets", "_slow")

    def __init__(self) -> None:
        self._patterns: list[tuple[bytes, int]] = []
        self._letters: _Set | None = None
        self._added = _Set()
        self._sets: list[_Set] = []
        self._slow: list[tuple[int, re.Pattern[bytes]]] = []

    def add(self, pattern: bytes, number: int) -> None:
        """Add the expression of the line with this number.

        Raises:
            ValueError: it is none.
        """
        self._patterns.append((pattern, number))
        if not self._added.add(pattern, number):
            self._leave(pattern, number)

    def _leave(self, pattern: bytes, number: int) -> None:
        """Leave an expression to ``re``."""
        import re  # 5 ms of start-up that most whitelists need not pay

        for name, characters in _CLASSES.items():
            pattern = pattern.replace(name, characters)
        if b"[[:" in pattern:
            raise ValueError("such a class of characters is not to be had beside look-around")
        try:
            self._slow.append((number, re.compile(pattern, re.IGNORECASE)))
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(str(error)) from error

    @property
    def slow(self) -> list[int]:
        """The numbers of the lines that RE2 cannot express."""
        return [number for number, _ in self._slow]

    def compile(self) -> list[tuple[int, str]]:
        """Make ready for matching; return the lines that neither RE2 nor ``re`` takes, and why."""
        failed = []
        pending = [self._added] if self._added.numbers else []
        while pending:
            one = pending.pop(0)
            if one.set.Compile():
                one.patterns.clear()
                self._sets.append(one)
            elif len(one.numbers) > 1:
                pending[:0] = one.halves()
            else:
                try:
                    self._leave(one.patterns[0], one.numbers[0])
                except ValueError as error:
                    failed.append((one.numbers[0], str(error)))
        return failed

    def match(self, subject: bytes) -> int | None:
        """Return the number of the first line that matches the subject, or None.

        In a subject that is UTF-8, a line may take a letter for one character or for its bytes.
        """
        for one in self._sets:
            found: list[int] = one.set.Match(subject)
            if found:
                return one.numbers[min(found)]
        for number, pattern in self._slow:
            if pattern.search(subject):
                return number
        if re2 and not subject.isascii() and _is_utf8(subject):
            found = self._by_letters().set.Match(subject)
            if found:
                return self._by_letters().numbers[min(found)]
        return None

    def matching_all(self, subjects: tuple[bytes, ...]) -> list[int]:
        """Return the numbers of the lines that match all of these subjects."""
        numbers = []
        for one in self._sets:
            found = set.intersection(*(set(one.set.Match(subject)) for subject in subjects))
            numbers += [one.numbers[place] for place in sorted(found)]
        slow = [number for number, it in self._slow if all(map(it.search, subjects))]
        return numbers + slow

    def _by_letters(self) -> _Set:
        """Return the same expressions, made when the first letter beyond ASCII comes."""
        if self._letters is None:
            self._letters = _Set(utf8=True)
            for pattern, number in self._patterns:
                self._letters.add(pattern, number)
            self._letters.set.Compile()
            self._letters.patterns.clear()
        return self._letters


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
