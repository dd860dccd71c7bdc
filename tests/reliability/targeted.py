"""Kill a process at each of its calls on files in turn, or make that call fail.

python -m tests.reliability.targeted [--every 1] [--errors] [--scenario NAME] [--call NAME]

A library that is preloaded does it: the N-th call of a kind, in the filter, in the child that
recovers, or in the process of a repair or a command. The marks in the record are no calls; the
watchdog's are, which stand between them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from greylist import __main__ as program
from greylist.store.berkeley import checker, due, repair
from greylist.store.berkeley.environment import identity
from tests.berkeley import RULES
from tests.reliability.corruption import DEFER, PASS, mark_dirty
from tests.reliability.forked import Forked, ask_forked
from tests.reliability.harness import LONGEST, House, key, request, scratch
from tests.reliability.preload import CALLS, EACH, FAILING, ON, ONCE, Counts, Fault, library
from tests.reliability.scenes import in_child

Kind = tuple[str, str, str]
"""A call, an error and a scope."""

KILLS: list[Kind] = [(call, "", ONCE) for call in (*FAILING, "alarm")]

ERRORS: list[Kind] = [
    (call, error, scope)
    for call, error in (
        *((call, error) for call in FAILING for error in ("ENOSPC", "EIO")),
        ("open", "EMFILE"),
        ("import", "EMFILE"),
        ("import", "EIO"),
    )
    for scope in (ONCE, ON, EACH)
]

OLD = 200
"""Entries that are there before."""

NEW = 10**6
"""The number of the request during which the fault happens."""

OURS = {f"greylist.db{suffix}" for suffix in ("", ".due", ".env", ".lock", ".repair", ".probe")}
"""What may stand in the database's directory, besides copies; a probe where none can be deleted."""

COUNTS = "counts"
"""The file with the counts of calls."""

Main = Callable[[], object]


def fill(house: House, times: int = 1) -> None:
    """Store entries that have passed, so many times over."""
    store = house.store()
    store._count = -(10**9)  # no checkpoint
    now = int(time.time()) - 1000

    def update(entries):
        for number in range(OLD):
            entries.put(key(number), b"%d/%d/1" % (now, now + 600), 0)

    for _ in range(times):
        store.transact(update)
    store.close()


def fill_log(house: House) -> None:
    """Have more than a MiB of log since the last checkpoint: the first update brings one."""
    fill(house, 30)


def die(house: House) -> None:
    """Leave a database that has to be recovered."""
    fill(house)
    mark_dirty(house)


def damage(house: House) -> None:
    """Leave a database that has to be set aside."""
    fill(house)
    with open(house.path, "r+b") as file:
        file.seek(20)
        file.write(b"\0\0\0\0")
    mark_dirty(house)


def set_aside(house: House) -> None:
    """Leave a database that was set aside, and has to be salvaged."""
    fill(house)
    descriptor = repair.open_lock(house.path)
    repair.lock(descriptor)  # so that nobody does it yet
    store = house.store()
    store.transact(lambda _: None)
    store.quarantine("for a test", identity(house.path))
    store.close()
    os.close(descriptor)


def suspect(house: House) -> None:
    """Leave a database that has to be checked."""
    fill(house)
    due.mark(house.path, due.CHECK)


def nothing(house: House) -> None:
    """Leave nothing: the database will be created."""


def start(
    house: House, fault: Fault, arguments: tuple[str, ...] = (), main: Main = program.main
) -> Forked:
    """Start a program of ours that has the fault; where imports fail, with a Python of its own."""
    place = house.directory, house.directory / COUNTS

    def begin() -> None:
        if fault.call == "import":
            command = [sys.executable, "-m", main.__module__, *arguments]
            os.execve(sys.executable, command, {**os.environ, **fault.environment(*place)})
        fault.begin(*place)

    return Forked(house, arguments, main, begin)


def ask(house: House, fault: Fault) -> tuple[bytes, int]:
    """Ask a filter that has the fault; return its reply and its exit status."""
    process = start(house, fault)
    return process.ask(request(NEW)), process.end()


def ask_twice(house: House, fault: Fault) -> tuple[bytes, int]:
    """Let another filter recover while the one with the fault is attached."""
    process = start(house, fault)
    reply = process.ask(request(NEW))
    if reply:
        mark_dirty(house)
        assert ask_forked(house, request(NEW + 1))
        reply = process.ask(request(NEW))
    return reply, process.end()


def mend(house: House, fault: Fault) -> tuple[bytes, int]:
    """Run a repair."""
    arguments = house.path, "local7", *RULES.arguments()
    return b"", start(house, fault, arguments, checker.main).end()


def purge(house: House, fault: Fault) -> tuple[bytes, int]:
    """Run a command that writes."""
    return b"", start(house, fault, ("purge",)).end()


class Scenario(NamedTuple):
    """Attributes: prepare: makes the files; use: returns reply and status; copies: set aside."""

    prepare: Callable[[House], None]
    use: Callable[[House, Fault], tuple[bytes, int]]
    copies: int = 0


SCENARIOS = {
    "creation": Scenario(nothing, ask),
    "update": Scenario(fill, ask),
    "checkpoint": Scenario(fill_log, ask),
    "recovery": Scenario(die, ask),
    "takeover": Scenario(fill, ask_twice),
    "quarantine": Scenario(damage, ask, copies=3),
    "salvage": Scenario(set_aside, mend, copies=1),
    "check": Scenario(suspect, mend),
    "purge": Scenario(fill, purge),
}


class Outcome(NamedTuple):
    """Attributes: counts: of the calls; hurt: it ended unwell; failure: in words."""

    counts: Counts = Counts({}, {}, 0)
    answered: bool = False
    hurt: bool = False
    set_aside: bool = False
    failure: str = ""


def run_case(name: str, fault: Fault) -> Outcome:
    """Return what came out.

    Raises:
        AssertionError: the next filters do not answer, or something is lost or set aside.
    """
    scenario = SCENARIOS[name]
    with tempfile.TemporaryDirectory(dir=scratch(), ignore_cleanup_errors=True) as place:
        house = House(Path(place))
        scenario.prepare(house)
        # As if there had been a check just now: one after each death takes most of the time.
        Path(due.repair_path(house.path)).write_bytes(b"%d\n" % time.time())
        reply, status = scenario.use(house, fault)
        _see_that_all_is_well(house, scenario)
        house.close()
        left = sorted(set(os.listdir(house.data)) - OURS - {Path(c).name for c in house.copies()})
        assert not left, f"{left} is left behind"
        aside = len(house.copies()) > scenario.copies
        # An error that strikes both attempts at a recovery may be taken for damage.
        assert not aside or fault.scope == EACH, f"set aside: {_salvages(house)}"
        return Outcome(Counts.read(house.directory / COUNTS), bool(reply), status != 0, aside)


def _see_that_all_is_well(house: House, scenario: Scenario) -> None:
    again = ask_forked(house, request(NEW))
    assert again == DEFER, f"no answer on the first connection: {again!r}"
    if scenario.prepare != nothing:
        complete_repairs(house)
        entries = house.entries()
        lost = [number for number in range(OLD) if key(number) not in entries]
        assert not lost, f"{len(lost)} entries are lost; {_salvages(house)}"
        assert ask_forked(house, request(5)) == PASS
    house.verify()


def _salvages(house: House) -> list[str]:
    """Return what the copies say of their salvage."""
    return [Path(copy, "salvage").read_text() for copy in house.copies()]


def complete_repairs(house: House) -> None:
    """Have what is due done, as the filters of the next minutes would."""
    end = time.monotonic() + LONGEST
    while due.read(house.path)[0]:
        assert time.monotonic() < end, "a repair does not end"
        house.wait_for_repair()
        if due.read(house.path)[0]:
            os.utime(due.due_path(house.path))  # it may have been postponed by a minute
            ask_forked(house, request(NEW))
    house.wait_for_repair()


Case = tuple[str, Fault]
"""A scenario's name, and what happens in it."""


def run_apart(case: Case) -> Outcome:
    """Run a case in a process of its own, and print its failure; return what came out."""
    name, fault = case
    try:
        outcome = in_child(lambda: run_case(name, fault))
    except AssertionError as error:
        print(f"FAILED {name}, {fault}: {error!r:.400}", flush=True)
        return Outcome(failure=str(error) or repr(error))
    return outcome


def all_cases(name: str, kinds: list[Kind], every: int) -> list[Case]:
    """Return a case for each call that a scenario makes when nothing happens.

    Args:
        name: of the scenario.
        kinds: calls, errors and scopes.
        every: one call of so many; of imports, which are many and alike, one of ten times as many.

    Raises:
        AssertionError: it goes wrong by itself.
    """
    sound = in_child(lambda: run_case(name, Fault("write", 0))).counts
    cases = []
    for call, error, scope in kinds:
        if scope == EACH and sound.most[call] == sound.calls[call]:
            continue  # one process makes all of them: it would be ONCE again
        most = (sound.most if scope == EACH else sound.calls)[call]
        step = every * (10 if call == "import" else 1)
        cases += [(name, Fault(call, number, error, scope)) for number in range(1, most + 1, step)]
    return cases


def run(name: str, kinds: list[Kind], every: int = 1, jobs: int = 1) -> Counter[str]:
    """Run all cases of a scenario, so many at once; return the counts."""
    total: Counter[str] = Counter(failed=0)
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        for outcome in pool.imap(run_apart, all_cases(name, kinds, every)):
            total.update({"cases": 1, **_counts(outcome)})
    return total


def _counts(outcome: Outcome) -> dict[str, int]:
    if outcome.failure:
        return {"failed": 1}
    if not outcome.counts.failed:
        return {"without the call": 1}
    return {
        "answered" if outcome.answered else "not answered": 1,
        "ended unwell": outcome.hurt,
        "sound databases set aside": outcome.set_aside,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--scenario", choices=list(SCENARIOS))
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--call", choices=CALLS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if not os.environ.get("LD_PRELOAD"):
        command = [sys.executable, "-m", __spec__.name, *sys.argv[1:]]
        environment = {**os.environ, "LD_PRELOAD": library()}
        return subprocess.run(command, env=environment, check=False).returncode
    total: Counter[str] = Counter(failed=0)
    for name in [options.scenario] if options.scenario else SCENARIOS:
        kinds = ERRORS if options.errors else KILLS
        kinds = [kind for kind in kinds if options.call in {None, kind[0]}]
        counts = run(name, kinds, options.every, options.jobs)
        print(name, dict(counts), flush=True)
        total.update(counts)
    print(dict(total), flush=True)
    return min(total["failed"], 100)


if __name__ == "__main__":
    sys.exit(main())
