"""The lists of who is never, or only, greylisted: their files, and how they are matched.

An empty or missing file whitelists nobody (in the original, everybody).
"""

from __future__ import annotations

from greylist.watched_file import File
from greylist.whitelist.lines import Line, doubt, rule, samples
from greylist.whitelist.networks import Networks
from greylist.whitelist.prefilter import Prefilter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from greylist.protocol import Request
    from greylist.whitelist.lines import Form


class Patterns:
    """The compiled lines of a file, the bad ones left out.

    Attributes:
        errors: ``(line number, reason)`` of each line that is left out.
        doubts: the same of each line that is kept, but matches nobody, or everybody.
    """

    __slots__ = ("_expressions", "_lines", "_networks", "doubts", "errors")

    def __init__(self, text: bytes, form: Form = rule, path: str = "") -> None:
        """Args: text: the file's; form: how a line is read; path: the file's name."""
        self.errors: list[tuple[int, str]] = []
        self.doubts: list[tuple[int, str]] = []
        self._lines: dict[int, Line] = {}
        self._expressions: dict[bytes, Prefilter] = {}
        self._networks = Networks()
        if b"\0" in text[:4096]:
            self.errors.append((1, "the file is no text, or UTF-16: save it as UTF-8"))
            return
        for number, content in enumerate(text.split(b"\n"), 1):
            try:
                parsed = form(content)
                if parsed:
                    line = Line(content.strip())
                    line.number, line.path, line.attribute = number, path, parsed[0]
                    self._add(parsed[1], line)
                    reason = doubt(content, *parsed)
                    if reason:
                        self.doubts.append((number, reason))
            except ValueError as error:
                self.errors.append((number, str(error)))
        for attribute, expressions in self._expressions.items():
            self.errors += expressions.compile()
            for number in expressions.matching_all(samples(attribute)):
                self.doubts.append((number, "matches everybody"))

    def _add(self, pattern: bytes, line: Line) -> None:
        if line.attribute == b"client_address":
            self._networks.add(pattern, line.number)
        else:
            expressions = self._expressions.get(line.attribute)
            if expressions is None:
                expressions = self._expressions[line.attribute] = Prefilter()
            expressions.add(pattern, line.number)
        self._lines[line.number] = line

    def lines(self) -> Iterable[Line]:
        """Return the lines that are not left out, in the file's order."""
        return self._lines.values()

    def match(self, subject: bytes, request: Request | None = None) -> Line | None:
        """Return a line that matches a request, or None.

        Args:
            subject: the request's ``client_address/sender/recipient``.
            request: its attributes, for the lines that name one.
        """
        for name, expressions in self._expressions.items():
            value = _value(name, request) if name else subject
            number = expressions.match(value) if value is not None else None
            if number is not None:
                return self._lines[number]
        number = self._networks.find(request.get(b"client_address", b"")) if request else None
        return None if number is None else self._lines[number]


def _value(name: bytes, request: Request | None) -> bytes | None:
    """Return the value of an attribute that a line can be about."""
    value = request.get(name) if request else None
    # Postfix's word for a client whose name it could not verify.
    return None if name == b"client_name" and value == b"unknown" else value


class Whitelist:
    """A whitelist file that is read again when it changes."""

    __slots__ = ("_expected", "_file", "_form", "_patterns", "_read", "_show", "_warn")

    def __init__(
        self,
        path: str,
        warn: Callable[[str], object],
        form: Form = rule,
        *,
        expected: bool = False,
        show: Callable[[bytes], object] | None = None,
    ) -> None:
        """Read nothing yet.

        Args:
            path: the file.
            warn: is told what is wrong with it, a line at a time.
            form: how a line is read.
            expected: that there is no such file is worth a warning.
            show: is given the file's lines, with ``|`` between them, when they have been read.
        """
        self._show = show
        self._expected = expected
        self._file = File(path)
        self._warn = warn
        self._form = form
        self._read = False
        self._patterns = Patterns(b"")

    def match(self, subject: bytes, request: Request | None = None) -> Line | None:
        """Return a line of the file as it is now that matches the request, or None."""
        if self._file.changed():
            self._load()
        return self._patterns.match(subject, request)

    def _load(self) -> None:
        path = self._file.path
        try:
            text = self._file.read()
        except FileNotFoundError:
            text = b""
            if self._expected:
                self._warn(f"{path} does not exist: nobody is on that list")
        except OSError as error:
            kept = "keeping the list as it was" if self._read else "nobody is on it until it can be"
            self._warn(f"cannot read {path}: {error.strerror}; {kept}")
            return
        self._read = True
        self._patterns = Patterns(text, self._form, path)
        if self._show:
            self._show(b"|".join(self._patterns.lines()))
        name = path.rpartition("/")[2]
        for number, reason in self._patterns.errors:
            self._warn(f"{name}:{number}: {reason}; line left out")
        for number, reason in self._patterns.doubts:
            self._warn(f"{name}:{number}: {reason}")
