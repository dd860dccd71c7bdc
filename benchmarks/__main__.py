"""``python -m benchmarks``: measure, print the tables, write RESULTS.md."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks import contenders, loader, packages
from benchmarks.bench import Bench, Table, one_processor
from benchmarks.rows import alone, data, quality, shared, smtp, suspicious, together

ROWS = {
    "cold": alone.cold,
    "warm": alone.warm,
    "connections": together.connections,
    "transports": alone.transports,
    "memory": together.memory,
    "whitelist": data.whitelist,
    "size": data.size,
    "walk": data.walk,
    "postfix": smtp.postfix,
    "durable": lambda bench: [alone.durable(bench), together.durable(bench)],
    "shared": shared.shared,
    "quality": quality.quality,
    "suspicious": suspicious.suspicious,
}

RESULTS = os.path.join(os.path.dirname(__file__), "RESULTS.md")


def main() -> int:
    """Run the rows that were asked for; return 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS) + " (default: all)")
    parser.add_argument("--quick", action="store_true", help="seconds a row, for development")
    parser.add_argument("--full", action="store_true", help="a database of 10^7 triplets too")
    parser.add_argument("--output", default=RESULTS, help="default: RESULTS.md here, for all rows")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    if os.geteuid() != 0:
        parser.error("needs root: it installs packages, binds the log socket and runs Postfix")
    packages.install()
    # So that what was started is stopped, whoever ends this.
    signal.signal(signal.SIGTERM, lambda signum, _: sys.exit(128 + signum))

    directory = tempfile.mkdtemp(prefix="greylist-bench-")
    os.chmod(directory, 0o755)  # the daemons run as users of their own
    bench = Bench(directory, arguments.quick, arguments.full)
    tables: list[Table] = []
    try:
        machine = packages.machine(directory)
        with one_processor():
            bench.sink.start()
        for name in arguments.rows or ROWS:
            for table in _measure(name, bench):
                print(table.text(), flush=True)
                tables.append(table)
    finally:
        _stop_all()
        bench.sink.stop()
        shutil.rmtree(directory)
    text = _report(machine, tables, bench)
    whole = not arguments.rows and not arguments.quick
    if whole or arguments.output != RESULTS:
        with open(arguments.output, "w", encoding="utf-8") as file:
            file.write(text)
    missed = [target for table in tables for target in table.targets if not target[2]]
    for what, seen, _ in missed:
        print(f"missed: {what}: {seen}", file=sys.stderr)
    return 1 if missed else 0


def _measure(name: str, bench: Bench) -> list[Table]:
    """Return the tables of a row; a row that fails leaves the others theirs."""
    try:
        return ROWS[name](bench)
    except (loader.LoadError, OSError, subprocess.SubprocessError) as error:
        _stop_all()
        bench.sink.start()
        table = Table(f"{name}: failed", "what was wrong")
        print(error, file=sys.stderr)
        table.add(str(error) if isinstance(error, loader.LoadError) else type(error).__name__)
        table.targets.append((f"{name} at all", "a failure", False))
        return [table]


def _stop_all() -> None:
    """Stop what a row that failed has left running."""
    for wire in loader.OPEN[:]:
        wire.close()
    for contender in contenders.RUNNING[:]:
        contender.stop()


def _report(machine: list[str], tables: list[Table], bench: Bench) -> str:
    head = [
        "# Results\n",
        "Written by `python -m benchmarks`; README.md beside this file says how to read it.\n",
        time.strftime("Measured on %Y-%m-%d on this machine:\n", time.gmtime()),
        *(f"- {line}" for line in machine),
        "",
    ]
    if not bench.sink.ours:
        head.append("The machine's own log daemon received the lines.\n")
    return "\n".join(head) + "\n" + "\n".join(table.text() for table in tables)


if __name__ == "__main__":
    sys.exit(main())
