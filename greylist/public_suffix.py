"""Public suffixes: the domains below which different people register names.

``public_suffixes.txt`` holds the rules of the public suffix list, those of registries and those
of companies that lend their domain out (https://github.com/publicsuffix/list/wiki/Format)::

    file :== comment LF LF index LF *(rule LF)
    index :== 1*(" " top-level-domain ":" start ":" end) " ", in bytes from the first rule
    rule :== top-level-domain 1*(" " label), the last label "*", or "!" and one that "*" spares

Labels are in the form of DNS and stand from right to left. The rules are sorted, so that a rule
comes right before those below it, "!" and "*" before other labels. Rules of one label are left
out: without a rule, a top-level domain is a suffix anyway. A process reads what it needs: to read
all costs half a millisecond, to split it more.
"""

from __future__ import annotations

import os
from _bisect import bisect_left  # the public module's file takes longer to load than the search

PATH = os.path.join(os.path.dirname(__file__), "public_suffixes.txt")

_HEAD = 8192
"""Bytes in which the file's rules begin."""

_END = b"\xff"
"""Stands behind the last rule: it is greater than all of them, and below none."""

_rules: dict[bytes, list[bytes]] = {}
_index: list[tuple[bytes, int]] = []
_open: list[int] = []


def keep_open() -> None:
    """Open the list for good: another user, as who root goes on, may not be able to.

    Raises:
        OSError: it cannot be opened.
    """
    _open.append(os.open(PATH, os.O_RDONLY))


def organizational_domain(name: bytes) -> bytes:
    """Return the public suffix of a name and the label before it; empty for a suffix itself.

    Args:
        name: in lower case, of labels that are not empty.

    Raises:
        OSError: the list cannot be read.
    """
    labels = name.split(b".")
    size = 1 + _suffix(labels[::-1])
    return b".".join(labels[-size:]) if len(labels) >= size else b""


def _suffix(labels: list[bytes]) -> int:
    """Return how many of the labels are the public suffix; the top-level domain comes first."""
    size, key = 1, labels[0]
    rules = _rules.get(key)
    if rules is None:
        rules = _rules[key] = [*_read(key).splitlines(), _END]
    place = 0  # where the rules below the key begin
    for depth, label in enumerate(labels[1:], 2):
        below = key + b" "
        if not rules[place].startswith(below):
            break
        if rules[place].startswith((below + b"*", below + b"!")):
            spared = below + b"!" + label
            if rules[bisect_left(rules, spared)] == spared:
                return depth - 1
            size = depth
        key = below + label
        place = bisect_left(rules, key)
        if rules[place] == key:
            size = depth
            place += 1
    return size


def _read(top: bytes) -> bytes:
    """Return the rules of a top-level domain; empty if there are none."""
    descriptor = _open[0] if _open else os.open(PATH, os.O_RDONLY)
    try:
        if not _index:
            _read_head(os.pread(descriptor, _HEAD, 0))
        index, first = _index[0]
        _, found, rest = index.partition(b" %s:" % top)
        if not found:
            return b""
        start, end = rest.partition(b" ")[0].split(b":")
        return os.pread(descriptor, int(end) - int(start), first + int(start))
    finally:
        if not _open:
            os.close(descriptor)


def _read_head(head: bytes) -> None:
    index = head.index(b"\n\n") + 2
    first = head.index(b"\n", index) + 1
    _index.append((head[index:first], first))
