r"""Whether a subject can match any of many expressions, told by its words: most cannot.

A word is a run of letters and digits between two other characters or ends. Whatever a line such
as ``^192\.0\.2\.``, ``/postmaster@`` or ``@lists[.]example[.][a-z]+$`` matches has certain words
in it. A subject that lacks them needs no RE2: to load it and compile 200 lines is a sixth of a
filter's start-up, and half a MiB.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.whitelist.regex import Expressions

PATIENCE = 1000
"""Subjects after which RE2 is loaded all the same: it looks at one in a third of the time (0.5 µs),
which pays for about that many."""

_BREAKS = (rb"\.", b"[.]", b"[@.]", rb"\-")
"""Expressions for a character that no word has."""

_GAPS = (b"[^/]*", b"[^/]+", b"[^@]*", b"[^@]+", b"[a-z]+", b"[0-9]+", rb"\d+", b".*", b".+", b".")
"""Wildcards: each may match letters or digits, so a word that touches one is not certain to be
whole. The longer ones come before those that they begin with."""

_GAP = b"\0"
_LETTERS = b"0123456789abcdefghijklmnopqrstuvwxyz"
_PLAIN = _LETTERS + b" !\"#%&',-/:;<=>@_`~"
"""Characters that stand for themselves in an expression, but for the case of letters."""

_WORDS = bytes(code if code in _LETTERS else 32 for code in bytes(range(256)).lower())
_WORDS_AND_GAPS = _GAP + _WORDS[1:]


def required(pattern: bytes) -> list[bytes]:
    """Return words, in lower case, that are in whatever an expression matches.

    An expression of plain characters, breaks and gaps, from ``^`` to ``$`` or without these, has
    such words unless each borders on a gap, and RE2 takes it. For any other, there are none.
    """
    text = pattern.lower()
    text = text[1:] if text.startswith(b"^") else _GAP + text
    text = text[:-1] if text.endswith(b"$") else text + _GAP
    for idiom in _BREAKS:
        text = text.replace(idiom, b"/")
    if text.translate(None, _PLAIN).strip(_GAP):
        for idiom in _GAPS:
            text = text.replace(idiom, _GAP)
        if text.translate(None, _PLAIN).strip(_GAP):
            return []
    return [word for word in text.translate(_WORDS_AND_GAPS).split() if word.isalnum()]


class Prefilter:
    """Expressions about one attribute, compiled when a subject comes that one can match.

    Each has the number of the line that it is from, as in ``Expressions``.
    """

    __slots__ = ("_expressions", "_patience", "_patterns", "_required")

    def __init__(self) -> None:
        self._patterns: list[tuple[bytes, int]] = []
        self._required: dict[bytes, list[list[bytes]]] = {}
        self._expressions: Expressions | None = None
        self._patience = PATIENCE

    def add(self, pattern: bytes, number: int) -> None:
        """Add the expression of the line with this number.

        Raises:
            ValueError: it is none.
        """
        if self._expressions is None:
            words = required(pattern)
            if words:
                self._patterns.append((pattern, number))
                # Under its first word: the last ones of domains are those of many.
                self._required.setdefault(words[0], []).append(words)
                return
            self._expressions = self._all()
        self._expressions.add(pattern, number)

    def _all(self) -> Expressions:
        from greylist.whitelist.regex import Expressions  # with RE2

        expressions = Expressions()
        for pattern, number in self._patterns:
            expressions.add(pattern, number)
        return expressions

    def compile(self) -> list[tuple[int, str]]:
        """Make ready for matching; return the lines that neither RE2 nor ``re`` takes, and why."""
        return self._expressions.compile() if self._expressions is not None else []

    def matching_all(self, subjects: tuple[bytes, ...]) -> list[int]:
        """Return the lines that match all of these subjects, which have no word in common."""
        return self._expressions.matching_all(subjects) if self._expressions is not None else []

    def match(self, subject: bytes) -> int | None:
        """Return the number of the first line that matches the subject, or None."""
        if self._expressions is None:
            self._patience -= 1
            if self._patience and not self._can_match(subject):
                return None
            self._expressions = self._all()
            self._expressions.compile()
        return self._expressions.match(subject)

    def _can_match(self, subject: bytes) -> bool:
        words = set(subject.translate(_WORDS).split())
        for word in words & self._required.keys():
            if any(map(words.issuperset, self._required[word])):
                return True
        return False
