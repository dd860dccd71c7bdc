"""What the rows share: a place for their files, the log sink, medians, tables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.sink import Sink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TypeVar

    from benchmarks.loader import Load

    T = TypeVar("T")


class Table:
    """One table of the results, and what it must show.

    Attributes:
        title: its heading.
        note: a paragraph above it.
        columns: the heads of its columns.
        lines: its cells.
        targets: what must be reached, what was seen, and whether it was.
    """

    def __init__(self, title: str, columns: str, note: str = "") -> None:
        """Args: columns: their heads, separated by ``|``."""
        self.title = title
        self.note = note
        self.columns = [column.strip() for column in columns.split("|")]
        self.lines: list[list[str]] = []
        self.targets: list[tuple[str, str, bool]] = []

    def add(self, *cells: str) -> None:
        """Add a line."""
        self.lines.append(list(cells))

    def must(self, what: str, seen: float, bound: float) -> None:
        """Add a target; ``what`` begins with the sign that tells on which side it lies."""
        reached = seen >= bound if what.startswith("≥") else seen <= bound
        self.targets.append((what, f"{seen:.2f}", reached))

    def text(self) -> str:
        """Return it in Markdown."""
        rows = [self.columns, ["---"] * len(self.columns), *self.lines]
        parts = [f"## {self.title}", self.note] if self.note else [f"## {self.title}"]
        parts.append("\n".join("| " + " | ".join(row) + " |" for row in rows))
        for what, seen, reached in self.targets:
            end = "reached" if reached else "**missed**"
            parts.append(f"Must reach {what}: seen {seen}, {end}.")
        return "\n\n".join(parts) + "\n"


class Filled:
    """Our filter over a database that was filled before.

    Attributes:
        disk: bytes that the database takes on the disk.
        length: bytes of all keys and values.
    """

    def __init__(self, directory: str, count: int) -> None:
        self.contender = contenders.ours(directory, traffic.whitelist(200))
        told = subprocess.run(
            [sys.executable, "-m", "benchmarks.fill", str(count)],
            check=True,
            cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
            env=self.contender.environment,
            stdout=subprocess.PIPE,
        ).stdout.split()
        self.length = int(told[1])
        self._path = os.path.join(directory, "db", "greylist.db")
        self.disk = os.stat(self._path).st_blocks * 512

    def at_hand(self) -> None:
        """Have the system's cache hold the whole file, and nothing left to be written."""
        os.sync()
        with open(self._path, "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


class Bench:
    """One run of the benchmarks.

    Attributes:
        quick: seconds a row, for whoever works on it; the numbers mean little.
        full: with the rows that take minutes.
        sink: where the log lines go.
        databases: those that rows/data.py has filled, by their number of triplets.
    """

    def __init__(self, directory: str, quick: bool, full: bool) -> None:
        self.quick = quick
        self.full = full
        self.sink = Sink()
        self.databases: dict[int, Filled] = {}
        self._directory = directory
        self._begin = time.monotonic()
        self._places = 0

    def pick(self, usual: T, quick: T) -> T:
        """Return the first, or in a quick run the second."""
        return quick if self.quick else usual

    def place(self) -> str:
        """Return a path for a new directory, which is deleted when the run ends."""
        self._places += 1
        return os.path.join(self._directory, str(self._places))

    def say(self, text: str) -> None:
        """Tell the person who waits."""
        print(f"{time.monotonic() - self._begin:5.0f} s  {text}", file=sys.stderr, flush=True)

    def interleave(
        self, rounds: int, runs: dict[str, Callable[[], T]], title: str
    ) -> dict[str, list[T]]:
        """Return what each run returned in each round; all take part in every round.

        The order turns round by round, so that no one always follows the same neighbour.
        """
        results: dict[str, list[T]] = {name: [] for name in runs}
        names = list(runs)
        for number in range(rounds):
            self.say(f"{title}: round {number + 1} of {rounds}")
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                results[name].append(runs[name]())
        return results


@contextmanager
def one_processor() -> Iterator[None]:
    """Keep this process, and all that it starts meanwhile, on one processor.

    Two that take turns need no more, and nobody has to wake another processor up. That takes a
    virtual machine longer than most requests take, but only where the scheduler has parted the
    two, which it does to some pairs and not to others.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def rate(loads: Iterable[Load]) -> float:
    """Return the median of requests a second."""
    return median(load.rate for load in loads)


def wait(loads: Iterable[Load], share: float) -> float:
    """Return the median of the waits, in seconds, that this share did not exceed."""
    return median(load.quantile(share) for load in loads)


def micro(seconds: float) -> str:
    """Return a time in microseconds."""
    return f"{seconds * 1e6:,.0f} µs"


def milli(seconds: float) -> str:
    """Return a time in milliseconds."""
    return f"{seconds * 1e3:,.1f} ms"


def times(ratio: float) -> str:
    """Return a ratio."""
    return f"{ratio:,.1f} ×" if ratio >= 10 else f"{ratio:.2f} ×"
