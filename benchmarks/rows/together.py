"""Many connections at once: throughput, waits, fairness; and the memory they take."""

from __future__ import annotations

from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Table, micro, milli, rate, times, wait
from benchmarks.loader import together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender
    from benchmarks.loader import Load, Wire


def connections(bench: Bench) -> list[Table]:
    """Measure 8, 32 and 100 busy connections."""
    whitelist = traffic.whitelist(200)
    field = [
        contenders.echo(bench.place()),
        contenders.ours(bench.place(), whitelist),
        contenders.greylist_pl(bench.place(), whitelist),
        contenders.Postgrey(bench.place()),
        contenders.Sqlgrey(bench.place()),
    ]
    for contender in field:
        contender.start()
    try:
        return [_connections(bench, field, count) for count in (8, 32, 100)]
    finally:
        for contender in field:
            contender.stop()


def _connections(bench: Bench, field: list[Contender], count: int) -> Table:
    # Long enough for a hundred turns each: the scheduler's slices are not what is asked for.
    seconds = bench.pick(max(1.5, count * 0.05), 0.5)
    wires = {contender.name: _open(contender, count) for contender in field}
    try:
        runs = {name: _loader(some, seconds) for name, some in wires.items()}
        seen = bench.interleave(bench.pick(3, 1), runs, f"{count} connections")
    finally:
        for some in wires.values():
            for wire in some:
                wire.close()
    table = Table(
        f"{count} connections at once",
        "| requests/s | greylist ÷ it | median wait | p99 | p99.9 | max "
        "| slowest ÷ fastest connection | slowest ÷ mean",
    )
    mine = rate(seen["greylist"])
    for name, loads in seen.items():
        table.add(
            name,
            f"{rate(loads):,.0f}",
            times(mine / rate(loads)),
            micro(wait(loads, 0.5)),
            *(milli(wait(loads, share)) for share in (0.99, 0.999, 1)),
            f"{median(load.fairness for load in loads):.2f}",
            f"{median(load.least for load in loads):.2f}",
        )
    if count == 8:
        for peer in "greylist.pl", "postgrey":
            table.must(f"≥ 6 × {peer}", mine / rate(seen[peer]), 6)
    least = min(load.least for load in seen["greylist"])
    table.must("≥ 0.5 × the mean for the slowest connection of any round", least, 0.5)
    return table


def _open(contender: Contender, count: int) -> list[Wire]:
    wires = [contender.connect() for _ in range(count)]
    for number, wire in enumerate(wires):
        wire.ask(traffic.request(number))
    return wires


def _loader(wires: list[Wire], seconds: float) -> Callable[[], Load]:
    batch = traffic.requests(1000)
    apart = len(batch) // len(wires)
    sources = [traffic.cycle(batch, number * apart) for number in range(len(wires))]
    return lambda: together(wires, sources, seconds)


def memory(bench: Bench) -> list[Table]:
    """Measure the proportional set size of filters that serve."""
    count = 20
    whitelist = traffic.whitelist(200)
    table = Table(
        f"Memory: {count} filters serving",
        "| MiB a filter | all of them | greylist ÷ it",
        "Proportional set size: what processes share is divided among them. The echo is Python "
        "itself.",
    )
    sizes = {}
    for contender in (
        contenders.ours(bench.place(), whitelist),
        contenders.greylist_pl(bench.place(), whitelist),
        contenders.packaged_pl(bench.place()),
        contenders.echo(bench.place()),
    ):
        bench.say(f"memory: {contender.name}")
        contender.start()
        wires = _open(contender, count)
        try:
            for wire in wires:
                for request in traffic.requests(200):
                    wire.ask(request)
            sizes[contender.name] = [_pss(pid) for pid in contender.pids()]
        finally:
            for wire in wires:
                wire.close()
            contender.stop()
    mine = median(sizes["greylist"])
    for name, each in sizes.items():
        middle = median(each)
        total = f"{sum(each):.1f} MiB"
        table.add(name, f"{middle:.2f}", total, times(mine / middle))
    table.must("≤ 0.7 × greylist.pl", mine / median(sizes["greylist.pl"]), 0.7)
    return [table]


def _pss(pid: int) -> float:
    """Return the proportional set size of a process, in MiB."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the proportional set size")
