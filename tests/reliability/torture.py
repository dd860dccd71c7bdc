"""Run all of the long proofs, and write what came out into docs/reliability.md.

python -m tests.reliability.torture [--part 1] [--dry] [NAME ...]

Each row is a command of its own, whose last line of output is a dictionary of counts. A row that
was not run this time stays as it is in the table.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import time
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- begin: make torture -->", "<!-- end: make torture -->"
HEAD = (
    "| row | what was done | what came out | minutes | command |\n| --- | --- | --- | --- | --- |\n"
)


class Row:
    """A proof: what is done, the module that does it, and how often at its full size."""

    def __init__(self, name: str, what: str, command: str, size: int = 0) -> None:
        """Args: command: with {size}, or with {every} for each N-th of all there is."""
        self.name = name
        self.what = what
        self.command = command
        self.size = size

    def sized(self, part: float) -> str:
        """Return the command for a part of the full size."""
        return self.command.format(
            size=max(1, round(self.size * part)), every=max(1, round(1 / part))
        )


ROWS = [
    Row("kills", "8 writers of the store, killed every 20 ms", "storm --kills {size}", 4000),
    Row("small-logs", "the same, logs of 64 KiB", "storm --kills {size} --small-logs", 3000),
    Row("filters", "8 real filters, killed every 50 ms", "storm --kills {size} --filters", 3000),
    Row("server", "a server of 8 clients, killed under load", "serve_storm --kills {size}", 1000),
    Row("calls", "a kill at each call on files, in nine scenarios", "targeted --every {every}"),
    Row("errors", "ENOSPC, EIO, EMFILE at each of them", "targeted --errors --every {every}"),
    Row(
        "corruption",
        "database, log, region or lock file truncated, emptied, replaced, a page zeroed, at random "
        "or swapped, bytes flipped",
        "corruption --cases {size}",
        1000,
    ),
    Row("power", "a power cut", "power --states {size}", 5000),
    Row("fuzz", "fuzzed requests to real filters", "endless --fuzz {size}", 10**7),
    Row("memory", "one filter, which may not grow", "endless --memory {size}", 10**7),
]


def run(row: Row, part: float) -> tuple[str, bool]:
    """Return the row's line of the table, none if it was ended, and whether all went well."""
    command = row.sized(part)
    print(f"== {row.name}: python -m tests.reliability.{command}", flush=True)
    started = time.monotonic()
    module, *arguments = command.split()
    last = ""
    program = [sys.executable, "-m", f"tests.reliability.{module}", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line if line.startswith("{") else last
    minutes = (time.monotonic() - started) / 60
    line = line_of(row, command, ast.literal_eval(last), minutes) if last else ""
    return line, process.returncode == 0


def line_of(row: Row, command: str, counts: dict[str, object], minutes: float) -> str:
    """Return a line of the table."""
    out = ", ".join(
        f"{name}: {value:,}" if isinstance(value, (int, float)) else f"{name}: {value}"
        for name, value in counts.items()
    )
    code = f"`python -m tests.reliability.{command}`"
    return f"| {row.name} | {row.what} | {out} | {minutes:.0f} | {code} |"


def table(text: str, lines: dict[str, str]) -> str:
    """Return the document with these lines in its table, and the others as they were."""
    before, _, rest = text.partition(BEGIN + "\n")
    old, _, after = rest.partition(END)
    kept = {line.split(" | ")[0][2:]: line for line in old.splitlines() if line.startswith("| ")}
    kept |= lines
    rows = "".join(kept[row.name] + "\n" for row in ROWS if row.name in kept)
    return f"{before}{BEGIN}\n{HEAD}{rows}{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", type=float, default=1, help="of each row's full size")
    parser.add_argument("--dry", action="store_true", help="leave the document as it is")
    parser.add_argument("names", nargs="*", metavar="NAME", help=" ".join(row.name for row in ROWS))
    options = parser.parse_args()
    failed = 0
    for row in ROWS:
        if not options.names or row.name in options.names:
            line, well = run(row, options.part)
            failed += not well
            print(line, flush=True)
            if line and not options.dry:
                DOCS.write_text(table(DOCS.read_text(), {row.name: line}))
    return failed


if __name__ == "__main__":
    sys.exit(main())
