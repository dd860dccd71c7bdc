"""Kill a filter at each of its write-like system calls in turn, or make that call fail.

The marks in the record are no calls; the watchdog's are, which stand between them.

python -m tests.reliability.targeted [--every 1] [--scenario NAME] [--errors]

strace(1) does it: the N-th call of a kind, in the filter or in the child that recovers.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from tests.reliability.corruption import DEFER, mark_dirty, settle
from tests.reliability.harness import House, ask_until_answered, key, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reliability.harness import FilterProcess

CALLS = "write pwrite64 alarm fallocate rename unlink mkdir fsync fdatasync ftruncate".split()
ERRORS = [
    ("pwrite64", "ENOSPC"), ("write", "ENOSPC"), ("fallocate", "ENOSPC"), ("pwrite64", "EIO"),
    ("write", "EIO"), ("fsync", "EIO"), ("fdatasync", "EIO"), ("openat", "EIO"),
    ("openat", "EMFILE"), ("rename", "EIO"), ("unlink", "EIO"), ("mkdir", "ENOSPC"),
]  # fmt: skip
OLD = 200
PASS = b"action=dunno\n\n"
LIMIT = 400


def _fill(house: House, count: int) -> None:
    store = house.store()
    store._count = -(10**9)
    now = int(time.time()) - 1000
    for first in range(0, count, 100):

        def update(entries, first=first):
            for number in range(first, first + 100):
                entries.put(key(number), b"%d/%d/1" % (now, now + 600), 0)

        store.transact(update)
    store.close()


def update(house: House) -> None:
    _fill(house, OLD)


def checkpoint(house: House) -> None:
    """More than a MiB of log stands since the last one, so the first update brings it."""
    _fill(house, 8000)


def recovery(house: House) -> None:
    _fill(house, OLD)
    mark_dirty(house)


def takeover(house: House) -> None:
    """Another filter recovers while this one is attached; see ``_use``."""
    _fill(house, OLD)


def quarantine(house: House) -> None:
    _fill(house, OLD)
    with open(house.path, "r+b") as file:
        file.seek(20)
        file.write(b"\0\0\0\0")
    mark_dirty(house)


def creation(house: House) -> None:
    """There is nothing yet."""


SCENARIOS = {
    one.__name__: one for one in (creation, update, checkpoint, recovery, takeover, quarantine)
}


def _use(house: House, scenario: str, process: FilterProcess) -> bytes:
    reply = process.ask(request(10**6))
    if scenario == "takeover" and reply:
        mark_dirty(house)
        other = house.filter()
        assert other.ask(request(10**6 + 1))
        other.end()
        reply = process.ask(request(10**6))
    return reply


def run_case(scenario: str, injection: str) -> tuple[bool, bytes]:
    """Return whether the process ended otherwise than well, and its reply.

    Raises:
        AssertionError: the next filters do not answer, or something is lost.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        house = House(Path(name))
        SCENARIOS[scenario](house)
        trace = f"--output={name}/trace"
        # The repair process, which the filter starts, is left alone.
        prefix = ("strace", "-f", "-b", "execve", "-qq", trace, "-e", f"inject={injection}")
        process = house.filter(prefix)
        reply = _use(house, scenario, process)
        status = process.end()
        again, tries = ask_until_answered(house, request(10**6), 3)
        assert again == DEFER, f"no answer afterwards: {again!r}"
        if scenario != "creation":
            settle(house)
            entries = house.entries()
            assert all(key(number) in entries for number in range(OLD)), "entries are lost"
            assert ask_until_answered(house, request(5), 3)[0] == PASS
        assert tries == 1, f"it took {tries} connections"
        allowed = 3 if scenario == "quarantine" else 0
        assert len(house.copies()) <= allowed, f"set aside: {house.copies()}"
        house.verify()
        house.close()
        return status != 0, reply


def kills(scenario: str, every: int) -> Counter[str]:
    """Kill at each call of each kind until no more of them are made; return the counts."""
    counts: Counter[str] = Counter()
    for call in CALLS:
        for number in range(1, LIMIT, every):
            _check(counts, scenario, f"{call}:signal=KILL:when={number}")
            if not counts.pop("hurt", 0):
                break
            counts["killed"] += 1
    return counts


def errors(scenario: str, every: int) -> Counter[str]:
    """Make calls fail once, and from then on; return the counts."""
    counts: Counter[str] = Counter()
    for call, error in ERRORS:
        for suffix in ("", "+"):
            number = 1
            while number < LIMIT:
                _check(counts, scenario, f"{call}:error={error}:when={number}{suffix}")
                counts["cases"] += 1
                if not counts.pop("hurt", 0) and number > 3 * every:
                    break
                number += every if call != "openat" else 10 * every
    return counts


def _check(counts: Counter[str], scenario: str, injection: str) -> None:
    try:
        hurt, reply = run_case(scenario, injection)
    except (AssertionError, TimeoutError, OSError) as error:
        counts["failed"] += 1
        counts["hurt"] = 1
        print(f"FAILED {scenario} {injection}: {error!r:.300}", flush=True)
    else:
        counts["hurt"] = int(hurt)
        counts["answered" if reply else "hung up"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--scenario", choices=list(SCENARIOS))
    parser.add_argument("--errors", action="store_true")
    options = parser.parse_args()
    run: Callable[[str, int], Counter[str]] = errors if options.errors else kills
    total: Counter[str] = Counter(failed=0)
    for scenario in [options.scenario] if options.scenario else SCENARIOS:
        counts = run(scenario, options.every)
        total.update(counts)
        print(scenario, dict(counts), flush=True)
    print(dict(total), flush=True)
    return total["failed"]


if __name__ == "__main__":
    sys.exit(main())
