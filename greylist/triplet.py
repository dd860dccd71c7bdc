"""One greylist entry: ``ctime/atime/count`` under ``client/sender/recipient``.

key   :== client "/" sender "/" recipient, in ASCII lower case
value :== ctime "/" atime "/" count, decimal

ctime is the time of the first attempt and atime that of the last one, in seconds since the
epoch, with 0 for no second attempt yet; count is the number of attempts after the first.
The text is that of the original ``greylist.pl``, whose databases can be used as they are.
"""

from __future__ import annotations

_SLASH, _PERCENT = b"/%"


class Triplet:
    """When a client first tried to send from a sender to a recipient, and how often since."""

    __slots__ = ("atime", "count", "ctime")

    def __init__(self, ctime: int, atime: int = 0, count: int = 0) -> None:
        self.ctime = ctime
        self.atime = atime
        self.count = count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Triplet) and self.pack() == other.pack()

    def __hash__(self) -> int:
        return hash(self.pack())

    def __repr__(self) -> str:
        return f"Triplet({self.ctime}, {self.atime}, {self.count})"

    @property
    def last_seen(self) -> int:
        """The time of the last attempt, in seconds since the epoch."""
        return self.atime or self.ctime

    def is_waiting(self, delay: int) -> bool:
        """Return whether no attempt came this many seconds after the first yet."""
        return self.last_seen - self.ctime < delay

    def again(self, now: int) -> Triplet:
        """Return the triplet after one more attempt."""
        return Triplet(self.ctime, now, self.count + 1)

    def pack(self) -> bytes:
        """Return the text that is stored."""
        return b"%d/%d/%d" % (self.ctime, self.atime, self.count)

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
        return triplet


def key(client: bytes, sender: bytes, recipient: bytes) -> bytes:
    """Return the key of a triplet.

    The recipient comes last and may contain slashes. A slash in the two other parts becomes
    ``%2f``, so that no sender can be made up whose key is another triplet's.
    """
    return b"%s/%s/%s" % (_escape(client), _escape(sender), recipient.lower())


def split_key(text: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the client, sender and recipient of a key.

    Raises:
        ValueError: the text is not a triplet's key.
    """
    client, sender, recipient = text.split(b"/", 2)
    return _unescape(client), _unescape(sender), recipient


def _escape(part: bytes) -> bytes:
    part = part.lower()
    # A number, as what is looked for in bytes, is found in a tenth of the time.
    if _SLASH in part or (_PERCENT in part and b"%2" in part):
        return part.replace(b"%", b"%25").replace(b"/", b"%2f")
    return part


def _unescape(part: bytes) -> bytes:
    return part.replace(b"%2f", b"/").replace(b"%25", b"%")
