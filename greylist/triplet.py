"""One greylist entry: ``ctime/atime/count`` under ``client/sender/recipient``.

key   :== client "/" sender "/" recipient, in ASCII lower case, of at most KEY_MAX bytes
value :== ctime "/" atime "/" [mark] count, decimal
mark  :== "0" for a triplet that has passed | "00" for one that has been retried too early

A client chooses how long its addresses are, so in a key that would be too long, a long part is
clipped, and a digest of the whole part stands for what is left out:

part  :== text | beginning "~" digest end

ctime is the time of the first attempt and atime that of the last one, in seconds since the
epoch, with 0 for no second attempt yet; count is the number of attempts after the first.
The text is that of the original ``greylist.pl``, whose databases can be used as they are; the
mark leaves it the same three numbers for a reader that knows no marks. A value without a mark has
passed if the last attempt came ``delay`` after the first, and gets a mark at its next change.
"""

from __future__ import annotations

DAY = 86400

CLIENT = b"/client/"
SENDER = b"/sender/"
REPLY = b"/reply/"
POOL = b"/pool/"
INSTANCE = b"/instance/"
"""How the keys of other entries begin; a triplet's never starts with a slash."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SLASH, _PERCENT, _TILDE = b"/%~"

KEY_MAX = 84
"""Bytes of a triplet's key. With the entry of its pool, an attempt takes at most 300 bytes of the
file, in whatever order the keys come: libdb leaves pages half empty when they ascend."""

CLIENT_MAX = 40
"""Bytes of a client: the longest IPv6 address has 39; a domain may have 253."""

INSTANCE_MAX = 40
"""Bytes of a message's instance: Postfix' own have about 20."""

_DIGEST = 6
"""Bytes of the digest of a clipped part: more than enough, since all else in the key is the same
when two are compared."""

_POOL_DIGEST = 8
"""Bytes of the digest that is the key of a pool's triplet."""

_HEX = b"0123456789abcdef"


class Triplet:
    """When a client first tried to send from a sender to a recipient, and how often since.

    Attributes:
        ctime: the time of the first attempt, in seconds since the epoch.
        atime: the time of the last attempt, 0 when there was one only.
        count: the number of attempts after the first.
        passed: whether it has been let through; None when the value does not tell.
    """

    __slots__ = ("atime", "count", "ctime", "passed")

    def __init__(
        self, ctime: int, atime: int = 0, count: int = 0, passed: bool | None = None
    ) -> None:
        self.ctime = ctime
        self.atime = atime
        self.count = count
        self.passed = passed

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Triplet) and self.pack() == other.pack()

    def __hash__(self) -> int:
        return hash(self.pack())

    def __repr__(self) -> str:
        return f"Triplet({self.ctime}, {self.atime}, {self.count}, {self.passed})"

    @property
    def last_seen(self) -> int:
        """The time of the last attempt, in seconds since the epoch."""
        return self.atime or self.ctime

    def has_passed(self, delay: int) -> bool:
        """Return whether it has been let through.

        Args:
            delay: decides for a value without a mark, in seconds.
        """
        if self.passed is None:
            return self.atime - self.ctime >= delay  # negative if there was one attempt only
        return self.passed

    def again(self, now: int, passed: bool | None = None) -> Triplet:
        """Return the triplet after one more attempt, which passed or not."""
        return Triplet(self.ctime, now, self.count + 1, passed)

    def pack(self) -> bytes:
        """Return the text that is stored."""
        if self.passed is None or not (self.passed or self.atime):
            return b"%d/%d/%d" % (self.ctime, self.atime, self.count)
        mark = b"0" if self.passed else b"00"
        return b"%d/%d/%s%d" % (self.ctime, self.atime, mark, self.count)

    @classmethod
    def unpack(cls, value: bytes) -> Triplet:
        """Return the triplet stored as this text.

        Raises:
            ValueError: the text is not three decimal numbers, or has no first attempt.
        """
        ctime, atime, count = value.split(b"/")
        if not (ctime.isdigit() and atime.isdigit() and count.isdigit() and len(value) <= 64):
            raise ValueError("not three decimal numbers")
        triplet = cls(int(ctime), int(atime), int(count))
        if not triplet.ctime:
            raise ValueError("no first attempt")
        if len(count) > 1 and count.startswith(b"0"):
            # A zero more than the mark is the count itself.
            marks = len(count) - len(b"%d" % triplet.count)
            triplet.passed = marks == 1 if marks <= _MARKS else None
        return triplet


_MARKS = 2
"""The zeros of the longest mark."""


def key(client: bytes, sender: bytes, recipient: bytes) -> bytes:
    """Return the key of a triplet.

    The recipient comes last and may contain slashes. A slash in the two other parts becomes
    ``%2f``, so that no sender can be made up whose key is another triplet's.
    """
    whole = whole_key(client, sender, recipient)
    # What looks like a clipped part is clipped itself: no sender can be made up to look like one.
    return _bounded(whole) if len(whole) > KEY_MAX or _TILDE in whole else whole


def whole_key(client: bytes, sender: bytes, recipient: bytes) -> bytes:
    """Return the key of a triplet with nothing clipped, as the original and version 0.1 have it."""
    return b"%s/%s/%s" % (escape(client), escape(sender), recipient.lower())


def client_key(client: bytes) -> bytes:
    """Return the key of the entry of a client: how many of its triplets have passed."""
    return CLIENT + clip(client.lower(), CLIENT_MAX)


def sender_key(client: bytes, sender: bytes) -> bytes:
    """Return the key of the entry of a client's sender: how many of its triplets have passed."""
    name = clip(client.lower(), CLIENT_MAX)
    return b"%s%s/%s" % (SENDER, name, clip(escape(sender), KEY_MAX - len(name) - 1))


def reply_key(sender: bytes, recipient: bytes) -> bytes:
    """Return the key of the entry of a user's mail, the recipient's, to this sender."""
    return b"%s%s/%s" % (
        REPLY, clip(escape(sender), KEY_MAX // 2), clip(recipient.lower(), KEY_MAX // 2)
    )  # fmt: skip


def pool_key(domain: bytes, sender: bytes, recipient: bytes) -> bytes:
    """Return the key of the triplet that stands for all clients of an organisational domain."""
    return POOL + _blake2(whole_key(domain, sender, recipient), _POOL_DIGEST)


def instance_key(instance: bytes, recipient: bytes = b"") -> bytes:
    """Return the key of the entry of a message that has its header, or of one of its recipients."""
    name = b"%s/%s" % (instance, recipient.lower()) if recipient else instance
    return INSTANCE + clip(name, INSTANCE_MAX)


def split_key(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the client, sender and recipient of a key, clipped where it has them so.

    Raises:
        ValueError: the text is not a triplet's key.
    """
    client, sender, recipient = text.split(b"/", 2)
    return _unescape(client), _unescape(sender), recipient


def split_credit(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the client, sender and recipient of a credit's key; it lacks one or two of them.

    Raises:
        ValueError: the text is not a credit's key.
    """
    if text.startswith(CLIENT):
        return text[len(CLIENT) :], b"", b""
    kind = SENDER if text.startswith(SENDER) else REPLY
    first, second = text.removeprefix(kind).split(b"/", 1)
    if kind == SENDER:
        return first, _unescape(second), b""
    return b"", _unescape(first), second


def stands_for(stored: bytes, part: bytes) -> bool:
    """Return whether a part that ``split_key`` returned is the clipped form of this one."""
    digest = _digest_in(stored)
    return bool(digest) and digest in {_digest(part.lower()), _digest(escape(part))}


def clip(part: bytes, size: int) -> bytes:
    """Return a part of a key in at most ``size`` bytes, of which a clipped one needs 13.

    The beginning and the domain stay readable, as far as there is room for them.
    """
    if len(part) <= size and (_TILDE not in part or not _digest_in(part)):
        return part
    room = size - 1 - 2 * _DIGEST
    local, at, domain = part.rpartition(b"@")
    end = (at + domain)[-(room - room // 4) :] if room else b""
    beginning = part[: room - len(end)] if local else part[: room // 4]
    # The only tilde is the one before the digest.
    return b"%s~%s%s" % (beginning.replace(b"~", b"-"), _digest(part), end.replace(b"~", b"-"))


def _bounded(whole: bytes) -> bytes:
    """Return a key in at most KEY_MAX bytes: half of the room is each address' at least."""
    client, sender, recipient = whole.split(b"/", 2)
    client = clip(client, CLIENT_MAX)
    room = KEY_MAX - len(client) - 2
    sender = clip(sender, max(room - len(recipient), room // 2))
    return b"%s/%s/%s" % (client, sender, clip(recipient, room - len(sender)))


def _digest(part: bytes) -> bytes:
    return _blake2(part, _DIGEST).hex().encode()


_blake2b: Any = None


def _blake2(text: bytes, size: int) -> bytes:
    global _blake2b  # noqa: PLW0603 - once, as a look for a module that is loaded costs as much
    if _blake2b is None:
        # Not by hashlib, which loads OpenSSL; late, as known mail of ordinary length needs none.
        from _blake2 import blake2b

        _blake2b = blake2b
    digest: bytes = _blake2b(text, digest_size=size).digest()
    return digest


def _digest_in(part: bytes) -> bytes:
    """Return the digest in a clipped part, or empty bytes if it is a whole one."""
    digest = part.partition(b"~")[2][: 2 * _DIGEST]
    return digest if len(digest) == 2 * _DIGEST and not digest.strip(_HEX) else b""


def escape(part: bytes) -> bytes:
    """Return a part of a key in lower case, in which no slash can pass for the end of the part."""
    part = part.lower()
    # A number, as what is looked for in bytes, is found in a tenth of the time.
    if _SLASH in part or (_PERCENT in part and b"%2" in part):
        return part.replace(b"%", b"%25").replace(b"/", b"%2f")
    return part


def _unescape(part: bytes) -> bytes:
    return part.replace(b"%2f", b"/").replace(b"%25", b"%")
