"""Kill writers at random moments; nothing that was acknowledged may be missing afterwards.

python -m tests.reliability.storm [--kills 500] [--writers 8] [--small-logs] [--filters]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

from greylist.store.berkeley import environment
from greylist.store.berkeley import store as berkeley
from tests.reliability.harness import FilterProcess, House, key, request

PAUSE = 0.05
"""Seconds between two kills of filters, on average."""


def _write_for_ever(house: House, number: int, ledger: int) -> None:
    """Store one new entry and update another in each transaction; note each in the ledger."""
    store = house.store()
    mine = number * 1_000_000
    sequence = _last(house, number)
    parent = os.getppid()
    while os.getppid() == parent:
        sequence += 1
        now = int(time.time())

        def update(entries, sequence=sequence, now=now):
            entries.put(key(mine), b"%d/%d/%d" % (now, now, sequence), 0)
            entries.put(key(mine + sequence), b"%d/0/0" % now, 0)

        store.transact(update)
        os.write(ledger, b"%d\n" % sequence)


def _ledger(house: House, number: int) -> Path:
    return house.directory / f"acknowledged.{number}"


def _last(house: House, number: int) -> int:
    lines = _ledger(house, number).read_bytes().split()
    return int(lines[-1]) if lines else 0


def _spawn_writer(house: House, number: int) -> int:
    ledger = os.open(_ledger(house, number), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            _write_for_ever(house, number, ledger)
        except BaseException as error:
            os.write(2, f"writer {number}: {error!r}\n".encode())
        finally:
            os._exit(1)
    os.close(ledger)
    try:
        os.setpgid(child, child)  # whoever comes first
    except (PermissionError, ProcessLookupError):
        pass
    return child


def storm(house: House, kills: int, writers: int, seed: int = 1) -> dict[str, int]:
    """Kill store users; return the counts.

    Raises:
        AssertionError: something acknowledged is missing, or the file is damaged.
    """
    chance = random.Random(seed)
    pids = {_spawn_writer(house, number): number for number in range(writers)}
    for _ in range(kills):
        time.sleep(chance.expovariate(1 / 0.02))
        pid = chance.choice(list(pids))
        _kill(pid, chance)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status), "a writer gave up"
        house.recoveries()
        number = pids.pop(pid)
        pids[_spawn_writer(house, number)] = number
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    entries = _settled(house)
    acknowledged = 0
    for number in range(writers):
        done = [int(line) for line in _ledger(house, number).read_bytes().split()]
        acknowledged += len(done)
        mine = number * 1_000_000
        missing = [one for one in done if key(mine + one) not in entries]
        assert not missing, f"writer {number}: {len(missing)} updates are missing: {missing[:5]}"
        if done:
            assert int(entries[key(mine)].split(b"/")[2]) >= done[-1]
    return _counts(house, kills, acknowledged)


def filter_storm(house: House, kills: int, writers: int, seed: int = 1) -> dict[str, int]:
    """Kill filters that answer over pipes; return the counts.

    Raises:
        AssertionError: an answered request left no trace, or the file is damaged.
    """
    chance = random.Random(seed)
    # Where a start takes longer than usual, those that are killed have to get past it, too.
    pause = max(PAUSE, _seconds_of_a_start(house) / 2)
    stop = threading.Event()
    current: dict[int, FilterProcess] = {}
    answered: dict[int, list[int]] = {number: [] for number in range(writers)}

    def client(number: int) -> None:
        sequence = number * 1_000_000
        while not stop.is_set():
            process = current[number] = house.filter()
            while not stop.is_set():
                sequence += 1
                reply = process.ask(request(sequence))
                if not reply:
                    break
                assert reply.startswith(b"action=defer_if_permit"), reply
                answered[number].append(sequence)
            process.kill()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(chance.expovariate(1 / pause))
        house.recoveries()
        process = current.get(chance.randrange(writers))
        if process is not None:
            with suppress(ProcessLookupError):
                _kill(process.pid, chance)
    stop.set()
    for thread in threads:
        thread.join()
    entries = _settled(house)
    for numbers in answered.values():
        missing = [one for one in numbers if key(one) not in entries]
        assert not missing, f"{len(missing)} answered requests are missing: {missing[:5]}"
    return _counts(house, kills, sum(map(len, answered.values())))


def _seconds_of_a_start(house: House) -> float:
    """Return the seconds from a filter's start to its first answer."""
    started = time.monotonic()
    process = house.filter()
    assert process.ask(request(0))
    seconds = time.monotonic() - started
    process.end()
    return seconds


def _kill(pid: int, chance: random.Random) -> None:
    """Kill as spawn(8) does, or as an administrator: with the child that recovers, or without."""
    chance.choice([os.kill, os.killpg])(pid, signal.SIGKILL)


def _settled(house: House) -> dict[bytes, bytes]:
    house.wait_for_repair()
    assert not house.copies(), "a sound database was set aside"
    entries = house.entries()
    house.verify()
    return entries


def _counts(house: House, kills: int, acknowledged: int) -> dict[str, int]:
    recoveries = house.recoveries() - 1  # the verification
    return {"kills": kills, "acknowledged": acknowledged, "recoveries": recoveries, "lost": 0}


def small_logs() -> None:
    """Make logs so small that every kill is near a checkpoint or a removal."""
    environment.LOG_FILE = 1 << 16
    environment.CHECKPOINT_KBYTES = 32
    berkeley.CHECKPOINT_KBYTES = 32
    berkeley.CHECKPOINT_EVERY = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--small-logs", action="store_true")
    parser.add_argument("--filters", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.small_logs:
        small_logs()
    with tempfile.TemporaryDirectory() as directory:
        run = filter_storm if options.filters else storm
        print(run(House(Path(directory)), options.kills, options.writers, options.seed))


if __name__ == "__main__":
    sys.exit(main())
