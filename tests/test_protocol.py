"""The policy protocol: what is a request, and what is not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greylist.protocol import (
    ATTRIBUTE_LIMIT,
    LINE_LIMIT,
    TEXT_LIMIT,
    RequestError,
    read_requests,
    reply,
)


def parse(data: bytes, size: int = 65536) -> tuple[list[dict[bytes, bytes]], list[bytes], str]:
    """Return the requests, the garbage and the error of a connection read in such pieces."""
    return parse_pieces([data[start : start + size] for start in range(0, len(data), size)])


def parse_pieces(pieces: list[bytes]) -> tuple[list[dict[bytes, bytes]], list[bytes], str]:
    waiting = iter([*(piece for piece in pieces if piece), b""])
    requests: list[dict[bytes, bytes]] = []
    garbage: list[bytes] = []
    try:
        requests.extend(read_requests(lambda: next(waiting), garbage.append))
    except RequestError as error:
        return requests, garbage, str(error)
    return requests, garbage, ""


@pytest.mark.parametrize("size", [1, 2, 16, 65536])
@pytest.mark.parametrize(
    ("data", "requests", "garbage"),
    [
        (b"", [], []),
        (b"a=1\n\n", [{b"a": b"1"}], []),
        (b"b=2\na=1\n\n", [{b"a": b"1", b"b": b"2"}], []),
        (b"a=1\n\nb=2\n\n", [{b"a": b"1"}, {b"b": b"2"}], []),
        (b"a=\n\n", [{b"a": b""}], []),
        (b"a=b=c==\n\n", [{b"a": b"b=c=="}], []),
        (b"a=1\na=2\n\n", [{b"a": b"2"}], []),
        (b"\n", [{}], []),
        (b"\n\n", [{}, {}], []),
        (b"nonsense\na=1\n=2\n\n", [{b"a": b"1"}], [b"nonsense", b"=2"]),
        (b" \n\n", [{}], [b" "]),
        (b"a=\x00\xff\xc3\xa9\r\n\n", [{b"a": b"\x00\xff\xc3\xa9\r"}], []),
        (b"\r\n\n", [{}], [b"\r"]),
        (b" a = 1 \n\n", [{b" a ": b" 1 "}], []),
    ],
)
def test_requests(data, requests, garbage, size):
    """A request is name=value lines and an empty line; any other line is garbage, skipped."""
    assert parse(data, size) == (requests, garbage, "")


@pytest.mark.parametrize("size", [1, 16, 65536])
@pytest.mark.parametrize("data", [b"a", b"a=1", b"a=1\n", b"a=1\n\nb=2\n"])
def test_end_in_the_middle(data, size):
    """What ends before its empty line is no request."""
    requests, _, error = parse(data, size)
    assert len(requests) == data.count(b"\n\n")
    assert error == "connection ended in the middle of a request"


def test_clipping():
    """Names and values are kept to 512 bytes, as in the original."""
    name, value = b"n" * (TEXT_LIMIT + 1), b"v" * (TEXT_LIMIT + 1)
    [request], _, _ = parse(name + b"=" + value + b"\n\n")
    assert request == {name[:TEXT_LIMIT]: value[:TEXT_LIMIT]}
    [request], _, _ = parse(b"a=" + value[:TEXT_LIMIT] + b"\n\n")
    assert request == {b"a": value[:TEXT_LIMIT]}


@pytest.mark.parametrize("size", [1000, 4096, 65536])
@pytest.mark.parametrize("start", [b"", b"a="])
def test_long_line(size, start):
    """A line of 64 KiB is read and one byte more is refused, whether its end comes or not."""
    line = start + b"x" * (LINE_LIMIT - len(start))
    assert parse(line + b"\n\n", size)[2] == ""
    refused = f"line of more than {LINE_LIMIT} bytes"
    assert parse(line + b"x\n\n", size)[2] == refused
    assert parse(b"b=1\n\n" + line + b"x", size) == ([{b"b": b"1"}], [], refused)


@pytest.mark.parametrize("size", [1, 4096, 65536])
@pytest.mark.parametrize("line", [b"a%d=1\n", b"%d\n"])
def test_many_lines(size, line):
    """A request has at most 1,000 lines, garbage included."""
    lines = b"".join(line % number for number in range(ATTRIBUTE_LIMIT))
    assert parse(lines + b"\n", size)[2] == ""
    assert parse(lines + b"a=1\n\n", size)[2] == f"request of more than {ATTRIBUTE_LIMIT} lines"


LINES = st.one_of(
    st.just(b""),
    st.binary(max_size=20),
    st.builds(lambda name, value: name + b"=" + value, st.binary(max_size=8), st.binary()),
    st.sampled_from([b"request=smtpd_access_policy", b"sender=", b"=", b"x" * 600, b"y=" * 400]),
)
STREAMS = st.one_of(st.binary(), st.lists(LINES).map(lambda lines: b"\n".join([*lines, b""])))


@given(STREAMS, st.lists(st.integers(0, 200)))
@example(b"a=1\n\n\n", [4])
def test_any_bytes_any_cuts(data, cuts):
    """Any bytes are requests, or a RequestError and nothing else; cuts make no difference."""
    whole = parse(data)
    positions = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[a:b] for a, b in pairwise(positions)]
    assert parse_pieces(pieces) == whole
    for request in whole[0]:
        assert all(0 < len(name) <= TEXT_LIMIT for name in request)
        assert all(len(value) <= TEXT_LIMIT for value in request.values())


@given(STREAMS)
def test_same_as_the_original(data):
    """The requests are those that the loop of greylist.pl makes of the same lines."""
    requests, garbage, _ = parse(data)
    expected: list[dict[bytes, bytes]] = []
    ignored: list[bytes] = []
    request: dict[bytes, bytes] = {}
    for line in data.split(b"\n")[:-1]:
        position = line.find(b"=")
        if position > 0:
            request[line[:position][:512]] = line[position + 1 :][:512]
        elif line == b"":
            expected.append(request)
            request = {}
        else:
            ignored.append(line)
    assert (requests, garbage) == (expected, ignored)


def test_reply():
    """A reply is one attribute and exactly one empty line."""
    assert reply(b"dunno") == b"action=dunno\n\n"


def test_the_limit_is_of_each_request():
    """A request may have all its lines, however many there were in those before it."""
    data = b"a=b\n\n" + b"a=b\n" * ATTRIBUTE_LIMIT + b"\n"
    pieces = iter([data * 2])
    assert len(list(read_requests(lambda: next(pieces, b""), bytes))) == 4
    pieces = iter([data[:-1], b"\n"])
    assert len(list(read_requests(lambda: next(pieces, b""), bytes))) == 2
