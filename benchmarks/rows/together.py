"""Many connections at once: throughput, waits, fairness; and the memory they take."""

from __future__ import annotations

from contextlib import contextmanager
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Table, micro, milli, rate, times, wait
from benchmarks.loader import together

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender
    from benchmarks.loader import Load, Wire

    Seen = dict[str, list[Load]]

COUNTS = (8, 32, 100)
"""Numbers of busy connections."""

SERVED = {8: (1.4, 0.2), 32: (2, 0.15), 100: (3, 0.2)}
"""What a server must reach beside as many filters: their throughput this many times, and no more
than this part of their p99; logging off."""


def connections(bench: Bench) -> list[Table]:
    """Measure 8, 32 and 100 busy connections; and a server beside as many filters, logging off."""
    whitelist = traffic.whitelist(200)
    field = [
        contenders.echo(bench.place()),
        contenders.echo_server(bench.place()),
        contenders.ours(bench.place(), whitelist),
        contenders.server(bench.place(), whitelist),
        contenders.server(bench.place(), whitelist, workers=2),
        contenders.greylist_pl(bench.place(), whitelist),
        contenders.Postgrey(bench.place()),
        contenders.Sqlgrey(bench.place()),
    ]
    with _started(field):
        tables = [_fair(_seen(bench, field, count, ""), count) for count in COUNTS]
    quiet = "quiet = yes\n"
    field = [
        contenders.echo_server(bench.place()),
        contenders.ours(bench.place(), whitelist, settings=quiet),
        contenders.server(bench.place(), whitelist, settings=quiet),
        contenders.server(bench.place(), whitelist, settings=quiet, workers=2),
        contenders.server(bench.place(), whitelist, settings=quiet, uvloop=True),
        contenders.Postgrey(bench.place(), logs=False),
        *contenders.s_postgray(bench.place()),
    ]
    with _started(field):
        tables += [_served(_seen(bench, field, count, "serve, "), count) for count in COUNTS]
    return tables


def durable(bench: Bench) -> Table:
    """Measure 32 connections, ``durable = yes``: a server syncs once what arrives together."""
    whitelist, count = traffic.whitelist(200), 32
    field = [
        contenders.ours(bench.place(), whitelist, settings="durable = yes\n"),
        contenders.server(bench.place(), whitelist, settings="durable = yes\n"),
        contenders.Postgrey(bench.place()),
    ]
    with _started(field):
        seen = _seen(bench, field, count, "durable = yes, ")
    table = Table(f"durable = yes, {count} connections", "| requests/s | median wait | p99")
    for name, loads in seen.items():
        table.add(name, f"{rate(loads):,.0f}", *(milli(wait(loads, s)) for s in (0.5, 0.99)))
    table.must("≥ 5 × postgrey for serve", _ratio(seen, "postgrey"), 5)
    return table


@contextmanager
def _started(field: Sequence[Contender]) -> Iterator[None]:
    """Have contenders run."""
    for contender in field:
        contender.start()
    try:
        yield
    finally:
        for contender in field:
            contender.stop()


def _seen(bench: Bench, field: Sequence[Contender], count: int, title: str) -> Seen:
    """Return what so many busy connections to each contender saw, round by round."""
    # Long enough for a hundred turns each: the scheduler's slices are not what is asked for.
    seconds = bench.pick(max(1.5, count * 0.05), 0.5)
    wires = {contender.name: _open(contender, count) for contender in field}
    try:
        runs = {name: _loader(some, seconds) for name, some in wires.items()}
        return bench.interleave(bench.pick(5, 1), runs, f"{title}{count} connections")
    finally:
        for some in wires.values():
            for wire in some:
                wire.close()


def _open(contender: Contender, count: int) -> list[Wire]:
    """Return connections on each of which something has been answered."""
    wires = [contender.connect() for _ in range(count)]
    for number, wire in enumerate(wires):
        wire.ask(traffic.request(number))
    return wires


def _loader(wires: list[Wire], seconds: float) -> Callable[[], Load]:
    batch = traffic.requests(1000)
    apart = len(batch) // len(wires)
    sources = [traffic.cycle(batch, number * apart) for number in range(len(wires))]
    return lambda: together(wires, sources, seconds)


def _served(seen: Seen, count: int) -> Table:
    """Show a server beside the others."""
    table = Table(
        f"serve, {count} connections at once, logging off",
        "| requests/s | serve ÷ it | median wait | p99 | p99.9",
        "The ratios are medians of the rounds'.",
    )
    for name, loads in seen.items():
        waits = [milli(wait(loads, share)) for share in (0.5, 0.99, 0.999)]
        table.add(name, f"{rate(loads):,.0f}", times(_ratio(seen, name)), *waits)
    faster, shorter = SERVED[count]
    table.must(f"≥ {faster} × the filters", _ratio(seen, "greylist"), faster)
    pairs = zip(seen["serve"], seen["greylist"], strict=True)
    p99 = median(one.quantile(0.99) / other.quantile(0.99) for one, other in pairs)
    table.must(f"≤ {shorter} × the filters' p99", p99, shorter)
    table.must("≥ 10 × postgrey", _ratio(seen, "postgrey"), 10)
    if "s-postgray" in seen:
        table.must("≥ 1 × s-postgray", _ratio(seen, "s-postgray"), 1)
    return table


def _ratio(seen: Seen, name: str) -> float:
    """Return the server's throughput beside that of another, round by round."""
    pairs = zip(seen["serve"], seen[name], strict=True)
    return median(one.rate / other.rate for one, other in pairs)


def _fair(seen: Seen, count: int) -> Table:
    """Show the filters beside the others, and whether each connection has its share."""
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
    return [table, _memory_of_servers(bench, whitelist)]


def _memory_of_servers(bench: Bench, whitelist: bytes) -> Table:
    """Measure the memory of a server with 100 connections."""
    table = Table(
        "Memory: a server with 100 connections",
        "| MiB, proportional | MiB, resident",
        "With 200 requests on each; all processes together.",
    )
    shared = 0.0
    for contender in (
        contenders.server(bench.place(), whitelist, workers=2),
        contenders.server(bench.place(), whitelist),
    ):
        bench.say(f"memory: {contender.name}")
        contender.start()
        wires = _open(contender, 100)
        try:
            for wire in wires:
                for request in traffic.requests(200):
                    wire.ask(request)
            shared = sum(_pss(pid) for pid in contender.pids())
            resident = sum(_pss(pid, "Rss:") for pid in contender.pids())
        finally:
            for wire in wires:
                wire.close()
            contender.stop()
        table.add(contender.name, f"{shared:.1f}", f"{resident:.1f}")
    table.must("≤ 25 MiB, proportional, with one process", shared, 25)
    return table


def _pss(pid: int, field: str = "Pss:") -> float:
    """Return the proportional set size of a process, in MiB, or another of the kernel's sums."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith(field):
                return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the proportional set size")
