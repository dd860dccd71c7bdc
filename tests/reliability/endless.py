"""Send millions of requests to real filters, which may not grow, nor be confused by any bytes.

python -m tests.reliability.endless --memory 10000000
python -m tests.reliability.endless --fuzz 10000000 [--seed 1]
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability.harness import House, request, scratch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reliability.harness import FilterProcess

BATCH = 100
"""Requests that are sent at once."""

TRIPLETS = 50_000
"""Different triplets, so that the database stays small."""

BROKEN_EVERY = 50
"""One in so many batches has something in it that may make the filter hang up."""

LONGEST = 60
"""Seconds within which a batch must be answered."""


def memory(house: House, count: int) -> dict[str, int]:
    """Send requests to one filter; return the bytes of its data and stack.

    Raises:
        AssertionError: it grew by more than 300 kB after the first 10,000.
    """
    process = house.filter()
    batch = b"".join(request(number % 5000) for number in range(BATCH))
    sizes = []
    for number in range(count // BATCH):
        send(process, batch)
        assert answers(process, BATCH)
        if number % 50 == 49:
            with open(f"/proc/{process.pid}/statm", "rb") as file:
                sizes.append(int(file.read().split()[5]) * 4096)  # not the shared pages
    process.end()
    assert sizes[-1] - sizes[1] < 300_000, sizes[:: max(1, len(sizes) // 20)]
    return {"requests": count, "bytes after 10,000": sizes[1], "bytes at the end": sizes[-1]}


def send(process: FilterProcess, data: bytes) -> None:
    """Send requests, all of them."""
    while data:
        data = data[os.write(process.process.stdin.fileno(), data) :]


def answers(process: FilterProcess, count: int) -> bool:
    """Return whether each of so many requests was answered, and not hung up on.

    Raises:
        AssertionError: what came is no answer.
    """
    received = b""
    while received.count(b"\n\n") < count:
        some = os.read(process.process.stdout.fileno(), 65536)
        if not some:
            return False
        received += some
        if len(received) > 1 << 20:
            break
    replies = received.split(b"\n\n")
    assert replies.pop() == b"", received[-200:]
    assert len(replies) == count, f"{len(replies)} replies to {count} requests"
    assert all(reply.startswith(b"action=") and b"\n" not in reply for reply in replies), replies
    return True


class Fuzzer:
    """Makes requests of any bytes, most of them in the protocol's frame."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.words = [self._word() for _ in range(1000)]
        self.triplets = [
            b"client_address=%s\nsender=%s\nrecipient=%s\n"
            % (self._address(), self.chance.choice(self.words), self.chance.choice(self.words))
            for _ in range(TRIPLETS)
        ]

    def _word(self) -> bytes:
        """Return a value: any bytes but a newline, often with what means something somewhere."""
        parts = [
            b"@",
            b"/",
            b"%",
            b"%2f",
            b"\0",
            b"\r",
            b"=",
            b"<>",
            b".",
            b"\xff",
            b"a",
            b"'",
            b" ",
        ]
        kind = self.chance.random()
        if kind < 0.4:
            return b"".join(self.chance.choices(parts, k=self.chance.randrange(1, 30)))
        if kind < 0.7:
            return b"u%d@%s.example" % (
                self.chance.randrange(99),
                self.chance.randbytes(3).hex().encode(),
            )
        return self.chance.randbytes(self.chance.choice([1, 10, 100, 600])).replace(b"\n", b" ")

    def _address(self) -> bytes:
        numbers = self.chance.choices(range(256), k=4)
        known = [b"%d.%d.%d.%d" % tuple(numbers), b"2001:db8::%x" % numbers[0], b"unknown", b""]
        return self.chance.choice([*known * 3, self._word()])

    def framed(self) -> bytes:
        """Return a request that has to be answered."""
        choice = self.chance.choice
        extra = b"".join(
            b"%s=%s\n" % (choice(NAMES), choice(self.words))
            for _ in range(self.chance.randrange(5))
        )
        return b"request=smtpd_access_policy\n%s%s\n" % (extra, choice(self.triplets))

    def batch(self) -> bytes:
        """Return requests that have to be answered."""
        return b"".join(self.framed() for _ in range(BATCH))

    def broken(self) -> bytes:
        """Return bytes that may be no request."""
        data = bytearray(self.framed())
        kind = self.chance.randrange(5)
        if kind == 0:
            for _ in range(self.chance.randrange(1, 8)):
                data[self.chance.randrange(len(data))] = self.chance.randrange(256)
        elif kind == 1:
            del data[self.chance.randrange(len(data)) :]
        elif kind == 2:
            data[:0] = b"x" * self.chance.choice([60_000, 65_535, 65_536, 70_000])
        elif kind == 3:
            data[:0] = b"a=b\n" * self.chance.choice([990, 1000, 1001])
        else:
            data[:0] = self.chance.randbytes(self.chance.randrange(300))
        return bytes(data)


NAMES = (
    b"helo_name client_name reverse_client_name protocol_state protocol_name instance queue_id "
    b"recipient_count size sasl_username ccert_fingerprint x"
).split()


def fuzz(house: House, count: int, seed: int) -> dict[str, int]:
    """Send fuzzed requests, and start another filter where one hung up; return the counts.

    Raises:
        AssertionError: a request in the frame was not answered, or a filter crashed.
    """
    fuzzer = Fuzzer(seed)
    counts = {"requests": 0, "out of the frame": 0, "hung up on": 0}
    process = house.filter(stderr="file", arguments=["--log", "stderr"])
    next_batch = fuzzer.batch()
    while counts["requests"] < count:
        batch = next_batch
        send(process, batch)
        next_batch = fuzzer.batch()  # while the filter is at work
        assert answers(process, BATCH), f"hung up in the frame: {batch!r}"
        counts["requests"] += BATCH
        if counts["requests"] // BATCH % BROKEN_EVERY == 0:
            counts["requests"] += 1
            counts["out of the frame"] += 1
            counts["hung up on"] += _is_over(process, fuzzer.broken())
            process = house.filter(stderr="file", arguments=["--log", "stderr"])
            house.filters[:] = [process]
    send(process, request(1))
    assert answers(process, 1)
    process.end()
    return counts


def _is_over(process: FilterProcess, data: bytes) -> bool:
    """Send bytes and end the connection; return whether the filter ended with an error.

    Raises:
        AssertionError: it crashed.
    """
    sent = time.monotonic()
    try:
        os.write(process.process.stdin.fileno(), data)
    except BrokenPipeError:
        pass
    status = process.end(LONGEST)
    assert time.monotonic() - sent < LONGEST
    errors = process.errors()
    assert status in {0, 1}, f"status {status} after {data!r}: {errors[-500:]}"
    assert "Traceback" not in errors, errors[-2000:]
    return status == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=int, metavar="COUNT")
    parser.add_argument("--fuzz", type=int, metavar="COUNT")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    runs: list[Callable[[House], dict[str, int]]] = []
    if options.memory:
        runs.append(lambda house: memory(house, options.memory))
    if options.fuzz:
        runs.append(lambda house: fuzz(house, options.fuzz, options.seed))
    for run in runs:
        with tempfile.TemporaryDirectory(dir=scratch()) as name:
            house = House(Path(name))
            print(run(house), flush=True)
            house.close()


if __name__ == "__main__":
    sys.exit(main())
