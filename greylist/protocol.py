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


def read_requests(
    read: Callable[[], bytes], garbage: Callable[[bytes], object]
) -> Iterator[Request]:
    """Yield the requests of a connection, however the transport cut them up.

    Args:
        read: returns the next bytes of the connection, or none at its end.
        garbage: called with each line that is no attribute; the line is skipped.

    Raises:
        RequestError: a line is longer than LINE_LIMIT, a request has more lines than
            ATTRIBUTE_LIMIT, or the connection ended within a request.
    """
    request: Request = {}
    count = 0
    tail = b""
    while data := read():
        if tail:
            data = tail + data
        lines = data.split(b"\n")
        tail = lines.pop()
        start = 0
        for _ in range(lines.count(b"")):
            end = lines.index(b"", start)
            count += end - start
            _add(request, count, lines[start:end], garbage)
            yield request
            request = {}
            count = 0
            start = end + 1
        if start < len(lines):
            count += len(lines) - start
            _add(request, count, lines[start:], garbage)
        # A line is refused before its end has come, or it would be kept for ever.
        if len(tail) > LINE_LIMIT:
            raise RequestError(f"line of more than {LINE_LIMIT} bytes")
    if tail or count:
        raise RequestError("connection ended in the middle of a request")


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
