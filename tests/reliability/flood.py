"""What a flood of made-up triplets costs, and what is left of it when they have expired.

    python -m tests.reliability.flood --attempts 1000000

The attempts are decided as in a filter, one transaction each, under a clock that goes on by
itself; each has long addresses and a verified name, so that it costs as much as one can.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from greylist.policy import decide
from greylist.settings import Settings
from tests.reliability.harness import House

if TYPE_CHECKING:
    from collections.abc import Iterable

MOST = 300
"""Bytes of the file that an attempt may take."""

EVERY = 0.01
"""Seconds between two attempts, by the flood's own clock."""

KINDS = ("short", "named", "long", "longest", "domains", "ipv6")


def attempt(kind: str, number: int) -> dict[bytes, bytes]:
    """Return a made-up request that has never been seen; of most kinds its keys ascend."""
    client = b"198.51.%d.9" % (number >> 8 & 255) if kind != "ipv6" else b"2001:db8:%x:%x::1" % (
        number >> 16, number & 0xFFFF)  # fmt: skip
    domain = b"d%07d.example" % number if kind == "domains" else b"example.com"
    name = b"unknown" if kind == "short" else b"mail.%s" % domain
    length = {"long": 40, "longest": 490}.get(kind, 1)
    return {
        b"client_address": client,
        b"client_name": name,
        b"sender": b"a%07d%s@%s" % (number, b"x" * length, domain),
        b"recipient": b"%s@example.org" % (b"r" * (505 if kind == "longest" else 20)),
    }


def flood(house: House, kind: str, numbers: Iterable[int], now: int, every: float = EVERY) -> int:
    """Have an attempt decided and stored every so many seconds; return the time of the last."""
    settings = Settings()
    settings.set("normalize_sender", "no")
    moment = now
    store = house.store(clock=lambda: moment)
    for done, number in enumerate(numbers, 1):
        request = attempt(kind, number)
        moment = now + int(done * every)
        decision = store.transact(lambda entries: decide(request, entries, settings, moment))  # noqa: B023
        assert decision.reason == "new", (kind, number, decision.reason)
    store.close()
    return moment


def size(house: House) -> int:
    """Return the bytes of the database, all pages being written."""
    store = house.store()
    store.transact(lambda entries: entries.get(b""))
    store.check_pages()
    store.close()
    return os.path.getsize(house.path)


def main() -> None:
    """Flood an empty database, let all expire, flood it again; print the sizes."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--attempts", type=int, default=1_000_000)
    parser.add_argument("--kind", choices=KINDS, default="longest")
    options = parser.parse_args()
    count = options.attempts
    with tempfile.TemporaryDirectory() as directory:
        house = House(Path(directory))
        now, sizes, began = int(time.time()), [], time.monotonic()
        for start in (0, count):
            now = flood(house, options.kind, range(start, start + count), now)
            sizes.append(size(house))
            # Three quiet days, with an attempt an hour: then all have expired.
            quiet = range(2 * count + start, 2 * count + start + 72)
            now = flood(house, options.kind, quiet, now, every=3600)
        seconds = time.monotonic() - began
    print(f"{count} attempts ({options.kind}): {sizes[0]} bytes, {sizes[0] / count:.0f} each")
    print(f"as many again after they have expired: {sizes[1]} bytes, in {seconds:.0f} s in all")


if __name__ == "__main__":
    main()
