"""How the cost of a request grows with the whitelist and the database, and with company."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Table, micro, milli, rate, times, wait
from benchmarks.loader import alone, together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.contenders import Spawned
    from benchmarks.loader import Load, Wire


def whitelist(bench: Bench) -> list[Table]:
    """Measure whitelists of 10, 200 and 5,000 lines."""
    sizes = 10, 200, 5000
    field = {}
    for size in sizes:
        lines = traffic.whitelist(size)
        field["greylist", size] = contenders.ours(bench.place(), lines)
        field["greylist.pl", size] = contenders.greylist_pl(bench.place(), lines)
    batch = traffic.requests(500)
    wires = {key: contender.spawn() for key, contender in field.items()}
    names = {f"{name} {size}": (name, size) for name, size in field}
    for wire in wires.values():
        alone(wire, batch)
    warm = bench.interleave(
        bench.pick(5, 2),
        {name: _repeat(wires[key], batch) for name, key in names.items()},
        "whitelists, warm",
    )
    for wire in wires.values():
        wire.close()
    cold = bench.interleave(
        bench.pick(9, 3),
        {name: _starter(field[key]) for name, key in names.items()},
        "whitelists, start-up",
    )
    table = Table(
        "Whitelist",
        "lines | greylist, a request | start-up | greylist.pl, a request | start-up",
        "A request that no line matches, over pipes, one connection.",
    )
    for size in sizes:
        cells = []
        for name in "greylist", "greylist.pl":
            key = f"{name} {size}"
            cells += [micro(1 / rate(warm[key])), milli(median(cold[key]))]
        table.add(f"{size:,}", *cells)
    growth = rate(warm["greylist 10"]) / rate(warm["greylist 200"])
    table.must("≤ 1.5 × from 10 to 200 lines", growth, 1.5)
    return [table]


def _repeat(wire: Wire, batch: list[bytes]) -> Callable[[], Load]:
    return lambda: alone(wire, batch)


def _starter(contender: Spawned) -> Callable[[], float]:
    request = traffic.request(0)

    def start() -> float:
        begin = time.perf_counter()
        wire = contender.spawn()
        wire.ask(request)
        end = time.perf_counter()
        wire.close()
        return end - begin

    return start


def filled(bench: Bench, count: int) -> Spawned:
    """Return our filter over a database of this many triplets, made once a run."""
    if count not in bench.databases:
        bench.say(f"making a database of {count:,} triplets")
        contender = contenders.ours(bench.place(), traffic.whitelist(200))
        _person(contender, "fill", str(count)).wait()
        bench.databases[count] = contender
    return bench.databases[count]


def _person(contender: Spawned, *arguments: str) -> subprocess.Popen[bytes]:
    """Start what a person would run, over a contender's database."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.person", *arguments],
        cwd=root,
        env=contender.environment,
    )


def size(bench: Bench) -> list[Table]:
    """Measure databases of 10^3, 10^5, 10^6 and, in a full run, 10^7 triplets."""
    counts = bench.pick([10**3, 10**5, 10**6], [10**3, 10**5])
    if bench.full:
        counts = [*counts, 10**7]
    asked = bench.pick(2000, 500)
    chance = random.Random(1)
    wires = {count: filled(bench, count).spawn() for count in counts}
    fresh = {count: count for count in counts}

    def known(count: int) -> Load:
        numbers = chance.choices(range(count), k=asked)
        return alone(wires[count], [traffic.request(number) for number in numbers])

    def new(count: int) -> Load:
        fresh[count] += asked
        return alone(wires[count], traffic.requests(asked, fresh[count] - asked))

    disk = {count: _disk(filled(bench, count)) / count for count in counts}
    runs: dict[str, Callable[[], Load]] = {}
    for count in counts:
        wires[count].ask(traffic.request(0))
        runs[f"known {count}"] = lambda count=count: known(count)
        runs[f"new {count}"] = lambda count=count: new(count)
    seen = bench.interleave(bench.pick(5, 2), runs, "databases")
    for wire in wires.values():
        wire.close()
    table = Table(
        "Size of the database",
        "triplets | a known one | ÷ 10³ | a new one | ÷ 10³ | disk, bytes a triplet "
        "| key and value, bytes",
        "A random triplet each time, one connection, the default cache. What is known was stored "
        "in random order, as mail comes.",
    )
    for count in counts:
        cells = []
        for kind in "known", "new":
            cost = 1 / rate(seen[f"{kind} {count}"])
            cells += [micro(cost), times(cost * rate(seen[f"{kind} 1000"]))]
        table.add(f"{count:,}", *cells, f"{disk[count]:.0f}", f"{_length():.0f}")
    if bench.full:
        for kind in "known", "new":
            growth = rate(seen[f"{kind} 1000"]) / rate(seen[f"{kind} {counts[-1]}"])
            table.must(f"≤ 2.5 × from 10³ to 10⁷, {kind}", growth, 2.5)
    return [table]


def _disk(contender: Spawned) -> int:
    """Return the bytes that a database takes on the disk."""
    return os.stat(os.path.join(contender.directory, "db", "greylist.db")).st_blocks * 512


def _length() -> float:
    """Return the mean length of a triplet's key and value, in bytes."""
    keys = ["/".join(traffic.triplet(number)) for number in range(1000)]
    return sum(map(len, keys)) / len(keys) + len(f"{int(time.time())}/0/0")


def walk(bench: Bench) -> list[Table]:
    """Measure how long requests wait while a person walks through a big database."""
    count = bench.pick(10**6, 10**5)
    contender = filled(bench, count)
    contender.start()
    wires = [contender.connect() for _ in range(4)]
    sources = [traffic.cycle(traffic.requests(1000), 250 * number) for number in range(4)]
    seconds = bench.pick(2.0, 0.5)

    def beside(*what: str) -> Load:
        person = _person(contender, *what) if what else None
        try:
            if person:
                time.sleep(0.5)  # it starts
            return together(wires, sources, seconds)
        finally:
            if person:
                person.terminate()
                person.wait()

    for number, wire in enumerate(wires):
        wire.ask(traffic.request(number))
    try:
        seen = bench.interleave(
            bench.pick(5, 2),
            {"nobody": beside, "a walk": lambda: beside("walk"), "a purge": lambda: beside("purge")},
            "beside a person's command",
        )
    finally:
        for wire in wires:
            wire.close()
        contender.stop()
    table = Table(
        "A person's command beside traffic",
        "beside | requests/s | median wait | p99 | p99.9 | max, median of rounds | max added",
        f"4 busy connections over {count:,} triplets, while somebody walks through all of them.",
    )
    alone_max = wait(seen["nobody"], 1)
    for name, loads in seen.items():
        waits = [milli(wait(loads, share)) for share in (0.5, 0.99, 0.999, 1)]
        added = wait(loads, 1) - alone_max
        table.add(name, f"{rate(loads):,.0f}", *waits, milli(max(added, 0)))
        if name != "nobody":
            table.must(f"≤ 25 ms added to the longest wait beside {name}", added * 1e3, 25)
    return [table]
