"""The sender as it stands in a key: without what changes from one mail to the next.

A tag of the day or the number of a mailing list's message would make each mail a stranger's.

- BATV: ``prvs=KDDDSSSSSS=user@host`` (draft-levine-smtp-batv-01), a key's number, a day and a
  signature; some senders put the user first.
- SRS: ``SRS0=HHH=TT=host=user@forwarder`` and ``SRS1=HHH=forwarder==HHH=TT=host=user@next``,
  with a hash and a timestamp of the day; ``+`` or ``-`` may stand for the first ``=`` (the
  Sender Rewriting Scheme, M. Wong; libsrs2).
- VERP: ``list-return-1234-user=host@lists`` (D. J. Bernstein), and the identifiers that bulk
  senders put there: numbers, words of eight or more hexadecimal digits, UUIDs.
- ``user+extension@host`` (RFC 5233).
"""

from __future__ import annotations

_TELLING = b"0123456789=+"
_HEX = b"0123456789abcdef"
_SEPARATORS = (b"=", b"+", b"-")
_WORDS = bytes(code if chr(code).isalnum() and code < 128 else 32 for code in range(256))
"""Turns into spaces what parts one word from the next."""

_UUID = [8, 4, 4, 4, 12]
"""How many hexadecimal digits are between its hyphens (RFC 9562, section 4)."""


def normalize(sender: bytes) -> bytes:
    """Return a sender's address in lower case, without its tag, timestamp or number."""
    local, at, domain = sender.lower().rpartition(b"@")
    return _user(local) + at + domain if at else domain


def _user(local: bytes) -> bytes:
    # Most have none of what is left out, or are one word that is no number.
    if len(local.translate(None, _TELLING)) == len(local):
        return local
    if local.isalnum() and (len(local) < 8 or local.strip(_HEX)) and not local.isdigit():
        return local
    scheme, separator = local[:4], local[4:5]
    if scheme == b"prvs" and separator == b"=":
        return _batv(local)
    if scheme == b"srs0" and separator in _SEPARATORS:
        return _srs0(local)
    if scheme == b"srs1" and separator in _SEPARATORS:
        return _srs1(local)
    # A leading plus is no extension's.
    return _mask(local[:1] + local[1:].partition(b"+")[0])


def _batv(local: bytes) -> bytes:
    _, tag, user = (*local.split(b"=", 2), b"")[:3]
    if not user:
        return _mask(local)
    return _user(tag if _is_tag(user) and not _is_tag(tag) else user)


def _is_tag(text: bytes) -> bool:
    return len(text) == 10 and text[:4].isdigit() and not text[4:].strip(_HEX)


def _srs0(local: bytes) -> bytes:
    fields = local[5:].split(b"=", 3)
    if len(fields) < 4:
        return _mask(local)
    return b"srs0=%s=%s" % (fields[2], _user(fields[3]))


def _srs1(local: bytes) -> bytes:
    _, forwarder, rest = (*local[5:].split(b"=", 2), b"", b"")[:3]
    fields = rest[1:].split(b"=", 3)
    if len(fields) < 4 or rest[:1] not in _SEPARATORS:
        return _mask(local)
    return b"srs1=%s=%s=%s" % (forwarder, fields[2], _user(fields[3]))


def _mask(local: bytes) -> bytes:
    """Return a local part with ``#`` for each identifier."""
    words = local.translate(_WORDS).split(b" ")
    if not any(map(_is_identifier, words)):
        return local
    masked, place = b"", 0
    while words:
        uuid = [len(word) for word in words[:5]] == _UUID and _is_uuid(local[place : place + 36])
        length = 36 if uuid else len(words[0])
        masked += b"#" if uuid or _is_identifier(words[0]) else words[0]
        # What follows, if it is not the end, is no part of a word.
        place += length + 1
        masked += local[place - 1 : place]
        del words[: 5 if uuid else 1]
    return masked


def _is_identifier(word: bytes) -> bool:
    return word.isdigit() or (len(word) >= 8 and not word.strip(_HEX))


def _is_uuid(text: bytes) -> bool:
    return text.count(b"-") == len(_UUID) - 1 and not text.strip(_HEX + b"-")
