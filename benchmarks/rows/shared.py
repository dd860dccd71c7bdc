"""A database that several hosts share: start, one connection, round trips, bytes."""

from __future__ import annotations

import time
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Table, micro, milli, one_processor, rate, times, wait
from benchmarks.fill import fill, measure, parse
from benchmarks.loader import alone
from benchmarks.rows.alone import starter
from benchmarks.shared_server import SharedServer
from greylist import settings
from greylist.client import identities
from greylist.commands.session import opened
from greylist.settings import Settings
from greylist.triplet import Triplet, client_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender
    from benchmarks.loader import Load, Wire
    from greylist.store import Entries

PORT = 28135
"""The first of a few TCP ports on the loopback address."""

DELAY = 0.5
"""Milliseconds to a server in the next room."""

BERKELEY, UNIX, TCP, FAR = "Berkeley DB", "Unix socket", "TCP", f"TCP, {DELAY} ms away"


@one_processor()
def shared(bench: Bench) -> list[Table]:
    """Measure a database in Valkey or Redis beside Berkeley DB and postgrey."""
    server = SharedServer(bench.place(), PORT)
    try:
        proxy = server.proxy(PORT + 1, DELAY)
        urls = {UNIX: server.unix, TCP: f"valkey://127.0.0.1:{PORT}", FAR: proxy.url}
        field = {BERKELEY: contenders.ours(bench.place(), traffic.whitelist(200))}
        for name, url in urls.items():
            # The last line of a setting wins.
            line = f"database = {url}\n"
            field[name] = contenders.ours(bench.place(), traffic.whitelist(200), settings=line)
        tables = [_start(bench, field), *_warm(bench, field)]
        tables.append(_trips(bench, field[FAR], server, proxy.trips))
        tables.append(_bytes(bench, server))
        return tables
    finally:
        server.stop()


def _start(bench: Bench, field: dict[str, contenders.Spawned]) -> Table:
    for contender in field.values():
        wire = contender.spawn()
        for request in traffic.requests(1000):
            wire.ask(request)
        wire.close()
    runs = {name: starter(contender) for name, contender in field.items()}
    seen = bench.interleave(bench.pick(30, 5), runs, "shared database, cold start")
    table = Table(
        "A shared database: spawn to first answer",
        "database | median | ÷ Berkeley DB",
        "A fresh filter, 1,000 triplets, a whitelist of 200 lines; a known triplet.",
    )
    usual = median(seen[BERKELEY])
    for name, seconds in seen.items():
        table.add(name, milli(median(seconds)), times(median(seconds) / usual))
    table.must("≤ 1.3 × Berkeley DB on a Unix socket", median(seen[UNIX]) / usual, 1.3)
    return table


def _warm(bench: Bench, field: dict[str, contenders.Spawned]) -> list[Table]:
    everyone: dict[str, Contender] = {**field, "postgrey": contenders.Postgrey(bench.place())}
    wires: dict[str, Wire] = {}
    for name, contender in everyone.items():
        contender.start()
        wires[name] = contender.connect()
    batch = traffic.requests(1000)
    for wire in wires.values():
        alone(wire, batch)
    tables = []
    try:
        note = "One connection; 1,000 triplets that wait and are retried: each request stores."
        tables.append(_compare(bench, "retries", wires, batch, note))
        mine = dict(wires)
        del mine["postgrey"]
        for name in (UNIX, TCP, FAR, BERKELEY):
            wires[name].close()
            del wires[name]
        for name in mine:
            _trust(field[name])
            wires[name] = field[name].connect()
        note = "The same of trusted clients: each request reads, and stores once an hour."
        tables.append(_compare(bench, "trusted clients", wires, batch, note))
    finally:
        for wire in wires.values():
            wire.close()
        for contender in everyone.values():
            contender.stop()
    return tables


def _compare(
    bench: Bench, what: str, wires: dict[str, Wire], batch: list[bytes], note: str
) -> Table:
    def runner(wire: Wire) -> Callable[[], Load]:
        return lambda: alone(wire, batch)

    runs = {name: runner(wire) for name, wire in wires.items()}
    seen = bench.interleave(bench.pick(7, 2), runs, f"shared database, {what}")
    table = Table(
        f"A shared database: {what}",
        "database | requests/s | ÷ Berkeley DB | ÷ postgrey | median wait | p99",
        note,
    )
    usual, peer = rate(seen[BERKELEY]), rate(seen["postgrey"])
    for name, loads in seen.items():
        speed = rate(loads)
        waits = [micro(wait(loads, share)) for share in (0.5, 0.99)]
        table.add(name, f"{speed:,.0f}", times(speed / usual), times(speed / peer), *waits)
    mine = rate(seen[UNIX])
    table.must("≥ 0.25 × Berkeley DB on a Unix socket", mine / usual, 0.25)
    table.must("≥ 2 × postgrey on a Unix socket", mine / peer, 2)
    return table


def _trust(contender: contenders.Spawned) -> None:
    """Have every client of the traffic trusted in a contender's database."""
    configuration = settings.load(contender.environment["GREYLIST_CONFIG"])
    value = Triplet(int(time.time()), count=configuration.auto_whitelist).pack()

    def trust(entries: Entries) -> None:
        for request in parse(list(range(1000))):
            for name in identities(request, configuration)[2]:
                entries.put(client_key(name), value, configuration.max_age)

    with opened(configuration) as store:
        store.transact(trust)


def _trips(
    bench: Bench, contender: contenders.Spawned, server: SharedServer, trips: Callable[[], int]
) -> Table:
    count = bench.pick(500, 50)
    table = Table(
        "A shared database: round trips",
        "request | round trips",
        "Counted by the proxy, of one filter after its first request.",
    )
    server.ask(b"FLUSHALL")
    wire = contender.spawn()
    wire.ask(traffic.request(10**6))
    for name, bound in (("new", 2), ("retried", 2), ("of a trusted client", 1)):
        if bound == 1:
            _trust(contender)
        before = trips()
        for request in traffic.requests(count):
            wire.ask(request)
        each = (trips() - before) / count
        table.add(name, f"{each:.2f}")
        table.must(f"≤ {bound} for one that is {name}", each, bound)
    wire.close()
    return table


def _bytes(bench: Bench, server: SharedServer) -> Table:
    count = bench.pick(100_000, 5_000)
    bench.say(f"making a shared database of {count:,} triplets")
    server.ask(b"FLUSHALL")
    before = server.memory()
    configuration = Settings()
    configuration.set("database", server.unix)
    with opened(configuration) as store:
        fill(store, configuration, count)
        number, length = measure(store)
    table = Table(
        "A shared database: bytes on the server",
        "triplets | entries | bytes of memory an entry | of these key and value",
    )
    each = (server.memory() - before) / number
    table.add(f"{count:,}", f"{number:,}", f"{each:.0f}", f"{length / number:.0f}")
    return table
