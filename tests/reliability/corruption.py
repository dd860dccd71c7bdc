"""Damage the files of a database at random; requests must be answered again, and soon.

python -m tests.reliability.corruption [--cases 600] [--seed 1] [--case N] [--jobs N]
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bsddb3 import db

from greylist.store.berkeley import checker
from greylist.store.berkeley.salvage import leaves
from tests.berkeley import RULES
from tests.heard import Heard
from tests.reliability.harness import House, ask_until_answered, key, request, scratch

ENTRIES = 3000
TRIES = 4
"""Connections after which a request must have been answered: Postfix tries twice a request."""

SECONDS = 120
"""The hard limit of a case: with two watchdogs and a recovery that hangs it stays below it."""

TARGETS = ("database", "log", "environment region", "log region", "cache region", "lock")
PAGE = 4096


def build(directory: Path) -> House:
    """Make a database with entries, some of them known to the log only."""
    house = House(directory)
    store = house.store()
    now = int(time.time()) - 1000

    def fill(first: int, last: int) -> None:
        def update(entries) -> None:
            for number in range(first, last):
                entries.put(key(number), b"%d/%d/1" % (now, now + 600), 0)

        store.transact(update)

    fill(0, ENTRIES - 100)
    store._count = 10**6
    fill(ENTRIES - 100, ENTRIES - 50)
    for number in range(ENTRIES - 50, ENTRIES):
        fill(number, number + 1)
    store.close()
    return house


def target_path(house: House, target: str) -> Path:
    home = Path(house.path + ".env")
    regions = {"environment region": 1, "log region": 2, "cache region": 3}
    if target in regions:
        return home / f"__db.00{regions[target]}"
    if target == "log":
        return max(home.glob("log.*"))
    return Path(house.path + ".lock") if target == "lock" else Path(house.path)


def mutate(path: Path, chance: random.Random) -> str:
    """Damage a file in one of many ways; return which."""
    size = path.stat().st_size
    kinds = [truncate, zero_page, random_page, flip_byte, flip_bytes, empty, rubbish]
    if path.name.endswith(".db"):
        kinds += [hash_database, other_order, swap_pages, zero_page, flip_byte, head]
    kind = chance.choice(kinds)
    kind(path, size, chance)
    return kind.__name__


def _write(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def truncate(path: Path, size: int, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(size + 1))


def zero_page(path: Path, size: int, chance: random.Random) -> None:
    _write(path, chance.randrange(max(1, size // PAGE)) * PAGE, bytes(min(PAGE, size)))


def random_page(path: Path, size: int, chance: random.Random) -> None:
    data = chance.randbytes(min(PAGE, size))
    _write(path, chance.randrange(max(1, size // PAGE)) * PAGE, data)


def flip_byte(path: Path, size: int, chance: random.Random) -> None:
    offset = chance.randrange(size)
    byte = path.read_bytes()[offset]
    _write(path, offset, bytes([byte ^ 1 << chance.randrange(8)]))


def flip_bytes(path: Path, size: int, chance: random.Random) -> None:
    for _ in range(50):
        flip_byte(path, size, chance)


def empty(path: Path, size: int, chance: random.Random) -> None:
    os.truncate(path, 0)


def rubbish(path: Path, size: int, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(chance.choice([1, 100, 512, 5000, size])))


def head(path: Path, size: int, chance: random.Random) -> None:
    """Change a byte of the page that says what the file is."""
    _write(path, chance.randrange(80), chance.randbytes(1))


def swap_pages(path: Path, size: int, chance: random.Random) -> None:
    data = path.read_bytes()
    one, other = (chance.randrange(size // PAGE) * PAGE for _ in range(2))
    _write(path, one, data[other : other + PAGE])
    _write(path, other, data[one : one + PAGE])


def _replace(path: Path, kind: int, order: int) -> None:
    path.unlink()
    database = db.DB()
    database.set_lorder(order)
    database.open(str(path), dbtype=kind, flags=db.DB_CREATE)
    for number in range(ENTRIES):
        database.put(key(number), b"1700000000/1700000600/1")
    database.close()


def hash_database(path: Path, size: int, chance: random.Random) -> None:
    _replace(path, db.DB_HASH, 1234)


def other_order(path: Path, size: int, chance: random.Random) -> None:
    _replace(path, db.DB_BTREE, 4321)


def settle(house: House) -> None:
    """Wait until everything that is set aside has been salvaged."""
    from greylist.store.berkeley.quarantine import to_salvage

    end = time.monotonic() + SECONDS
    while time.monotonic() < end and to_salvage(house.path):
        time.sleep(0.05)
    house.wait_for_repair()


def mark_dirty(house: House) -> None:
    """Make the record say that a holder died inside."""
    with open(house.path + ".lock", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        data = file.read()
        file.seek(0)
        file.write(data.replace(b"dirty=0", b"dirty=1", 1))


def case(seed: int, model: Path) -> dict[str, object]:
    """Damage a copy of the model and use it; return what came out.

    Raises:
        AssertionError: it is not answered as promised.
    """
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=scratch(), ignore_cleanup_errors=True) as name:
        # Copied by a program that preserves nothing but the bytes, so that inodes change.
        directory = Path(name) / "house"
        shutil.copytree(model, directory)
        house = House(directory)
        adopt(house)
        target = TARGETS[seed % len(TARGETS)]
        started = time.monotonic()
        alive = house.filter() if chance.random() < 0.3 else None
        if alive:
            assert alive.ask(request(10**6))
        how = mutate(target_path(house, target), chance)
        died = target != "lock" and chance.random() < 0.5
        if died:
            mark_dirty(house)
        numbers = [chance.randrange(ENTRIES) for _ in range(30)]
        passed = tries = 0
        for number in numbers:
            reply = alive.ask(request(number), SECONDS) if alive else b""
            if not reply:
                if alive:
                    alive.kill()
                reply, more = ask_until_answered(house, request(number), TRIES)
                tries = max(tries, more)
                alive = house.filter()
            assert reply in {PASS, DEFER}, f"{how} of {target}: {reply!r}"
            passed += reply != DEFER
        settle(house)
        # What the first requests did not touch may still be damaged: the check has to find it.
        checker.check_database(house.path, Heard(), RULES)
        settle(house)
        for number in numbers[:3]:
            reply, more = ask_until_answered(house, request(number), TRIES)
            assert reply in {PASS, DEFER}, f"{how} of {target}: {reply!r} at last"
            tries = max(tries, more)
        entries = house.entries()
        kept = sum(key(number) in entries for number in range(ENTRIES))
        if how in LOCAL:
            assert kept >= ENTRIES * 9 // 10, f"{how} of {target}: {kept} entries are left"
        seconds = time.monotonic() - started
        assert seconds < SECONDS, f"{how} of {target} took {seconds:.0f} s"
        house.close()
        return {
            "seed": seed, "target": target, "how": how, "died": died, "passed": passed,
            "tries": tries, "kept": kept, "aside": len(house.copies()), "seconds": seconds,
        }  # fmt: skip


LOCAL = {"zero_page", "random_page", "flip_byte", "flip_bytes", "head", "swap_pages"}
"""Damage to a few pages, which loses at most what stands there."""

PASS = b"action=dunno\n\n"
DEFER = b"action=defer_if_permit Service is temporarily unavailable\n\n"


def adopt(house: House) -> None:
    """Have the record speak of the files as copied."""
    from greylist.store.berkeley.environment import identity

    record = house.record()
    record.files = identity(house.path)
    Path(house.path + ".lock").write_bytes(record.pack())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="run this one only, here")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    options = parser.parse_args()
    if options.case is not None:
        print(case(options.case, options.model), flush=True)
        return
    sys.exit(run(range(options.seed, options.seed + options.cases), options.jobs))


def run(seeds: range, jobs: int = 1) -> int:
    """Run cases in processes of their own, so many at once; print and return the failures."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name, ThreadPoolExecutor(jobs) as pool:
        model = Path(name) / "model"
        model.mkdir()
        build(model)
        failures, done = 0, []
        for failed, text in pool.map(lambda seed: _run_case(seed, model), seeds):
            print("FAILED " if failed else "", text, end="", flush=True)
            failures += failed
            if not failed:
                done.append(ast.literal_eval(text))
        if failures:
            describe(model)
    if done:
        print(summary(done, failures), flush=True)
    return failures


def _run_case(seed: int, model: Path) -> tuple[bool, str]:
    """Return whether a case failed, and what it printed."""
    command = [sys.executable, "-m", __spec__.name, "--model", str(model), "--case", str(seed)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS + 30, check=False
        )
    except subprocess.TimeoutExpired:
        return True, f"seed {seed}: timed out\n"
    return done.returncode != 0, done.stdout or done.stderr[-2000:]


def summary(cases: list[dict[str, Any]], failures: int) -> dict[str, float]:
    """Return the counts of all cases."""
    return {
        "mutations": len(cases) + failures,
        "failed": failures,
        "connections at most": max(case["tries"] for case in cases),
        "seconds at most": round(max(case["seconds"] for case in cases), 1),
        "set aside": sum(case["aside"] > 0 for case in cases),
        "with all entries": sum(case["kept"] == ENTRIES for case in cases),
        "fewest entries after local damage": min(
            (case["kept"] for case in cases if case["how"] in LOCAL), default=ENTRIES
        ),
    }


def describe(model: Path) -> None:
    """Print what the undamaged model had to be salvaged from."""
    wanted = {key(number) for number in range(ENTRIES)}
    for path in sorted(model.rglob("*")):
        if path.is_file():
            found = [dict(entries) for _, entries in leaves(str(path))]
            there = len(wanted & set().union(*found))
            size, blocks = path.stat().st_size, path.stat().st_blocks
            pages = f"{len(found)} leaves, {there} entries"
            print(f"{path.name}: {size} bytes, {blocks} blocks, {pages}")


if __name__ == "__main__":
    main()
