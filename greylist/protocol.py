"""The Postfix SMTP access policy delegation protocol, as bytes.

A request is a sequence of ``name=value`` lines, ended by an empty line; a reply is
``action=TEXT`` and an empty line (Postfix, SMTPD_POLICY_README). Lines end in a newline
and nothing else: a carriage return, a NUL or bytes that are not UTF-8 are data.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Request = dict[bytes, bytes]

TEXT_LIMIT = 512
"""Bytes of a name, and of a value, that are kept, as in the original ``greylist.pl``."""

LINE_LIMIT = 65536
"""Bytes in a line; Postfix's own lines end at its ``line_length_limit`` of 2,048."""

ATTRIBUTE_LIMIT = 1000
"""Lines in a request; Postfix 3.7 sends 27."""


class RequestError(ValueError):
    """The client broke the policy protocol."""


class Parser:
    """Turns the bytes of one connection into requests, however the transport cuts them up."""

    __slots__ = ("_count", "_garbage", "_request", "_tail")

    def __init__(self, garbage: Callable[[bytes], object]) -> None:
        """Args: garbage: called with each line that is no attribute; the line is skipped."""
        self._garbage = garbage
        self._request: Request = {}
        self._count = 0
        self._tail = b""

    def feed(self, data: bytes) -> Iterator[Request]:
        """Yield the requests that are whole with these next bytes.

        Raises:
            RequestError: a line is longer than LINE_LIMIT, or a request has more lines than
                ATTRIBUTE_LIMIT.
        """
        lines = (self._tail + data).split(b"\n")
        self._tail = lines.pop()
        start = 0
        for _ in range(lines.count(b"")):
            end = lines.index(b"", start)
            request = self._request
            self._count += end - start
            _add(request, self._count, lines[start:end], self._garbage)
            self._request = {}
            self._count = 0
            yield request
            start = end + 1
        if start < len(lines):
            self._count += len(lines) - start
            _add(self._request, self._count, lines[start:], self._garbage)
        # A line is refused before its end has come, or it would be kept for ever.
        if len(self._tail) > LINE_LIMIT:
            raise RequestError(f"line of more than {LINE_LIMIT} bytes")

    @property
    def began(self) -> bool:
        """Whether a request has begun, and is not whole yet."""
        return bool(self._tail or self._count)

    def end(self) -> None:
        """See that the connection does not end within a request.

        Raises:
            RequestError: it does.
        """
        if self.began:
            raise RequestError("connection ended in the middle of a request")


def read_requests(
    read: Callable[[], bytes], garbage: Callable[[bytes], object]
) -> Iterator[Request]:
    """Yield the requests of a connection.

    Args:
        read: returns the next bytes of the connection, or none at its end.
        garbage: called with each line that is no attribute; the line is skipped.

    Raises:
        RequestError: as ``Parser`` does.
    """
    parser = Parser(garbage)
    while data := read():
        yield from parser.feed(data)
    parser.end()


def _add(
    request: Request, count: int, lines: list[bytes], garbage: Callable[[bytes], object]
) -> None:
    """Add the lines' attributes to the request, which then has this count of lines."""
    if count > ATTRIBUTE_LIMIT:
        raise RequestError(f"request of more than {ATTRIBUTE_LIMIT} lines")
    for line in lines:
        name, equals, value = line.partition(b"=")
        if len(line) > TEXT_LIMIT:
            if len(line) > LINE_LIMIT:
                raise RequestError(f"line of more than {LINE_LIMIT} bytes")
            name, value = name[:TEXT_LIMIT], value[:TEXT_LIMIT]
        if name and equals:
            request[name] = value
        else:
            garbage(line)


def reply(action: bytes) -> bytes:
    """Return the bytes that answer a request with this action.

    Exactly one empty line: a further newline would break Postfix's reuse of the connection.
    """
    return b"action=%s\n\n" % action
