"""One connection: cold and warm, over each transport, and with every commit synced."""

from __future__ import annotations

import time
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Table, micro, milli, one_processor, rate, times, wait
from benchmarks.loader import alone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender, Spawned
    from benchmarks.loader import Load, Wire

PORT = 28125
"""The first of a few TCP ports on the loopback address."""


@one_processor()
def cold(bench: Bench) -> list[Table]:
    """Measure from spawn to the first answer."""
    whitelist = traffic.whitelist(200)
    spawned = [
        contenders.ours(bench.place(), whitelist),
        contenders.greylist_pl(bench.place(), whitelist),
        contenders.packaged_pl(bench.place()),
        contenders.echo(bench.place()),
    ]
    for contender in spawned:
        wire = contender.spawn()
        for request in traffic.requests(1000):
            wire.ask(request)
        wire.close()
    runs = {contender.name: starter(contender) for contender in spawned}
    seen = bench.interleave(bench.pick(30, 5), runs, "cold start")
    table = Table(
        "Cold start: spawn to first answer",
        "| median | greylist ÷ it",
        "A fresh process, a database of 1,000 triplets, a whitelist of 200 lines; a known triplet. "
        "The echo is the start of Python itself.",
    )
    mine = median(seen["greylist"])
    for name, seconds in seen.items():
        table.add(name, milli(median(seconds)), times(mine / median(seconds)))
    table.must("≤ 0.75 × greylist.pl", mine / median(seen["greylist.pl"]), 0.75)
    return [table]


def starter(contender: Spawned) -> Callable[[], float]:
    """Return what starts a filter and returns the seconds until its first answer."""
    request = traffic.request(0)

    def start() -> float:
        begin = time.perf_counter()
        wire = contender.spawn()
        wire.ask(request)
        end = time.perf_counter()
        wire.close()
        return end - begin

    return start


@one_processor()
def warm(bench: Bench) -> list[Table]:
    """Measure one busy connection, first as everyone logs by default, then without logging."""
    return [_warm(bench, logs=True), _warm(bench, logs=False)]


def _warm(bench: Bench, logs: bool) -> Table:
    whitelist = traffic.whitelist(200)
    field = [
        contenders.echo(bench.place()),
        contenders.ours(bench.place(), whitelist, settings="" if logs else "quiet = yes\n"),
        contenders.greylist_pl(bench.place(), whitelist),
        contenders.packaged_pl(bench.place()),
        contenders.Postgrey(bench.place(), logs),
        contenders.Sqlgrey(bench.place(), logs),
    ]
    rounds = bench.pick(5, 2)
    batch = traffic.requests(1000) * bench.pick(4, 1)
    title = "Warm, one connection, " + ("logging as by default" if logs else "logging off")
    wires = _connect(field)
    lines: dict[str, list[float]] = {contender.name: [] for contender in field}

    def runner(name: str, wire: Wire) -> Callable[[], Load]:
        def run() -> Load:
            before = bench.sink.count
            load = alone(wire, batch)
            lines[name].append((bench.sink.count - before) / len(batch))
            return load

        return run

    # The daemons want the log socket when they start, whether they log or not.
    if not logs:
        bench.sink.stop()
    try:
        runs = {name: runner(name, wire) for name, wire in wires.items()}
        seen = bench.interleave(rounds, runs, title)
    finally:
        bench.sink.start()
        _disconnect(field, wires)
    note = f"{rounds * len(batch):,} requests over 1,000 triplets, by turns"
    table = _compare(title, seen, f"Unix sockets; a whitelist of 200 lines; {note}.")
    if logs:
        table.columns.append("lines logged a request")
        for row in table.lines:
            row.append(f"{median(lines[row[0]]):.0f}")
    mine = rate(seen["greylist"])
    for peer, bound in ("greylist.pl", 10), ("postgrey", 10), ("sqlgrey", 20):
        table.must(f"≥ {bound} × {peer}", mine / rate(seen[peer]), bound)
    table.must("≥ 0.25 × the echo", mine / rate(seen["echo"]), 0.25)
    return table


def _connect(field: Sequence[Contender]) -> dict[str, Wire]:
    wires = {}
    for contender in field:
        contender.start()
        wires[contender.name] = contender.connect()
    for wire in wires.values():
        for request in traffic.requests(100):
            wire.ask(request)
    return wires


def _disconnect(field: Sequence[Contender], wires: dict[str, Wire]) -> None:
    for wire in wires.values():
        wire.close()
    for contender in field:
        contender.stop()


def _compare(title: str, seen: dict[str, list[Load]], note: str) -> Table:
    table = Table(title, "| requests/s | greylist ÷ it | median wait | p99", note)
    mine = rate(seen["greylist"])
    for name, loads in seen.items():
        speed = rate(loads)
        waits = [micro(wait(loads, share)) for share in (0.5, 0.99)]
        table.add(name, f"{speed:,.0f}", times(mine / speed), *waits)
    return table


@one_processor()
def durable(bench: Bench) -> Table:
    """Measure ``durable = yes`` beside postgrey, which syncs every commit."""
    whitelist = traffic.whitelist(200)
    mine = contenders.ours(bench.place(), whitelist, settings="durable = yes\n")
    postgrey = contenders.Postgrey(bench.place())
    field = [mine, postgrey, contenders.greylist_pl(bench.place(), whitelist)]
    batch = traffic.requests(1000)[: bench.pick(1000, 200)]
    wires = _connect(field)
    try:
        runs = {name: _loader(wire, batch) for name, wire in wires.items()}
        seen = bench.interleave(bench.pick(5, 2), runs, "durable = yes")
    finally:
        _disconnect(field, wires)
    note = "One connection; each of these syncs each update."
    return _compare("durable = yes", seen, note)


def _loader(wire: Wire, batch: list[bytes]) -> Callable[[], Load]:
    return lambda: alone(wire, batch)


@one_processor()
def transports(bench: Bench) -> list[Table]:
    """Measure pipes, unix and TCP sockets: what the road costs, whoever is at its end."""
    whitelist = traffic.whitelist(200)
    ours = contenders.ours(bench.place(), whitelist)
    echo = contenders.echo(bench.place())
    port = ("127.0.0.1", PORT), ("127.0.0.1", PORT + 1)
    field = [
        echo,
        ours,
        contenders.echo(bench.place(), port[0]),
        contenders.ours(bench.place(), whitelist, port[1]),
    ]
    names = "echo, unix", "greylist, unix", "echo, TCP", "greylist, TCP"
    batch = traffic.requests(1000) * bench.pick(4, 1)
    wires = {"echo, pipes": echo.spawn(), "greylist, pipes": ours.spawn()}
    for name, contender in zip(names, field, strict=True):
        contender.start()
        wires[name] = contender.connect()
    try:
        for wire in wires.values():
            alone(wire, batch[:100])
        runs = {name: _loader(wire, batch) for name, wire in wires.items()}
        seen = bench.interleave(bench.pick(5, 2), runs, "transports")
    finally:
        _disconnect(field, wires)
    table = Table("Transports", "| echo, requests/s | greylist, requests/s | greylist ÷ echo")
    for kind in "pipes", "unix", "TCP":
        top, mine = rate(seen[f"echo, {kind}"]), rate(seen[f"greylist, {kind}"])
        table.add(kind, f"{top:,.0f}", f"{mine:,.0f}", times(mine / top))
    return [table]
