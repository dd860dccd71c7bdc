"""How the cost of a request grows with the whitelist and the database, and with company."""

from __future__ import annotations

import random
import subprocess
from functools import partial
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Filled, Table, micro, milli, one_processor, rate, times, wait
from benchmarks.loader import Load, LoadError, alone, together
from benchmarks.rows.alone import starter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.loader import Wire


@one_processor()
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
        {name: starter(field[key]) for name, key in names.items()},
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


def filled(bench: Bench, count: int) -> Filled:
    """Return a database of this many triplets, made once a run."""
    if count not in bench.databases:
        bench.say(f"making a database of {count:,} triplets")
        bench.databases[count] = Filled(bench.place(), count)
    return bench.databases[count]


def _at_hand(bench: Bench, counts: list[int]) -> dict[int, Wire]:
    """Return filters over databases of these sizes, which the making of others has not evicted."""
    for count in counts:
        filled(bench, count)
    for count in counts:
        filled(bench, count).at_hand()
    return {count: filled(bench, count).contender.spawn() for count in counts}


@one_processor()
def size(bench: Bench) -> list[Table]:
    """Measure databases of 10^3, 10^5, 10^6 and, in a full run, 10^7 triplets."""
    counts = bench.pick([10**3, 10**5, 10**6], [10**3, 10**5])
    if bench.full:
        counts = [*counts, 10**7]
    asked = bench.pick(2000, 500)
    chance = random.Random(1)
    wires = _at_hand(bench, counts)
    fresh = {count: count for count in counts}

    def known(count: int) -> Load:
        numbers = chance.choices(range(count), k=asked)
        return alone(wires[count], [traffic.request(number) for number in numbers])

    def new(count: int) -> Load:
        fresh[count] += asked
        return alone(wires[count], traffic.requests(asked, fresh[count] - asked))

    runs: dict[str, Callable[[], Load]] = {}
    for count in counts:
        wires[count].ask(traffic.request(0))
        runs[f"known {count}"] = partial(known, count)
        runs[f"new {count}"] = partial(new, count)
    seen = bench.interleave(bench.pick(5, 2), runs, "databases")
    for wire in wires.values():
        wire.close()
    table = Table(
        "Size of the database",
        "triplets | a known one | ÷ 10³ | a new one | ÷ 10³ | disk, bytes a triplet "
        "| keys and values, bytes a triplet",
        "A random triplet each time, one connection, the default cache; the system has the file in "
        "its own. What is known was stored in random order, as mail comes.",
    )
    for count in counts:
        cells = []
        for kind in "known", "new":
            cost = 1 / rate(seen[f"{kind} {count}"])
            cells += [micro(cost), times(cost * rate(seen[f"{kind} 1000"]))]
        database = filled(bench, count)
        bytes_each = database.disk / count, database.length / count
        table.add(f"{count:,}", *cells, *(f"{each:.0f}" for each in bytes_each))
    if bench.full:
        for kind in "known", "new":
            growth = rate(seen[f"{kind} 1000"]) / rate(seen[f"{kind} {counts[-1]}"])
            table.must(f"≤ 2.5 × from 10³ to 10⁷, {kind}", growth, 2.5)
    return [table]


def walk(bench: Bench) -> list[Table]:
    """Measure how long requests wait while a person works on a big database."""
    count = bench.pick(10**6, 10**5)
    contender = filled(bench, count).contender
    contender.start()
    wires = [contender.connect() for _ in range(4)]
    sources = [traffic.cycle(traffic.requests(1000), 250 * number) for number in range(4)]

    def beside(command: str = "") -> Load:
        """Return the load while the command runs, or of three seconds without one."""
        filled(bench, count).at_hand()
        if not command:
            return together(wires, sources, bench.pick(3.0, 0.5))
        person = subprocess.Popen(
            [contenders.program(), command],
            env=contender.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        loads = [together(wires, sources, 0.2)]
        while person.poll() is None:
            loads.append(together(wires, sources, 0.2))
        if person.returncode:
            raise LoadError(f"greylist {command} failed")
        return Load.joined(loads)

    for number, wire in enumerate(wires):
        wire.ask(traffic.request(number))
    try:
        runs: dict[str, Callable[[], Load]] = {"nobody": beside}
        for command in "dump", "purge":
            runs[command] = partial(beside, command)
        seen = bench.interleave(bench.pick(3, 1), runs, "beside a person's command")
    finally:
        for wire in wires:
            wire.close()
        contender.stop()
    table = Table(
        "A person's command beside traffic",
        "beside | requests/s | median wait | p99 | p99.9 | max, median of rounds | max added",
        f"4 busy connections over {count:,} triplets, while a command walks through all of them. "
        "The first purge has a tenth of them to delete.",
    )
    quiet = wait(seen["nobody"], 1)
    for name, loads in seen.items():
        waits = [milli(wait(loads, share)) for share in (0.5, 0.99, 0.999, 1)]
        added = wait(loads, 1) - quiet
        table.add(name, f"{rate(loads):,.0f}", *waits, milli(max(added, 0)))
        if name != "nobody":
            table.must(f"≤ 25 ms added to the longest wait beside {name}", added * 1e3, 25)
    return [table]
