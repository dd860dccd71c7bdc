"""Cut the power at any moment: what was acknowledged is there afterwards, and the next one answers.

python -m tests.reliability.power [--states 5000] [--seed 1] [--scenario NAME] [--verbose]

The calls of real filters are recorded by preload.c, which is preloaded; the states of a disk
that may follow from them are made by disk.py; then a filter is asked in each.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from greylist.store.berkeley import due
from greylist.store.berkeley.permissions import lock_path
from greylist.store.berkeley.quarantine import to_salvage
from greylist.store.berkeley.record import SIZE, Record
from tests.reliability.forked import ask_forked
from tests.reliability.harness import VERIFY, House, request, scratch
from tests.reliability.scenes import SCENARIOS, in_child, record, wait_for_repairs

if TYPE_CHECKING:
    from tests.reliability.disk import Recording

OTHER_BOOT = b"00000000-0000-0000-0000-000000000000"


class Cut:
    """One power cut in a recording, and what comes after it."""

    def __init__(self, recording: Recording, durable: bool, seed: str) -> None:
        self.recording = recording
        self.durable = durable
        self.chance = random.Random(seed)
        self.torn = self.chance.random() < 0.5
        near = self.chance.choice(recording.interesting() or [0]) + self.chance.randint(-2, 3)
        anywhere = self.chance.randint(0, recording.calls)
        self.last = min(max(0, self.chance.choice([near, near, anywhere])), recording.calls)
        # Without "durable", what is half a minute old is on the disk, and nothing else need be.
        self.sure = 0 if durable else self.chance.randint(0, self.last)

    def expected(self) -> dict[bytes, bool]:
        """Return the keys that must be there; true: as ones that have passed."""
        limit = self.last if self.durable else self.sure
        expected: dict[bytes, bool] = {}
        for call, entry, again in self.recording.answers:
            if call <= limit:
                expected[entry] = expected.get(entry, False) or again
        return expected

    def build(self, house: House) -> None:
        """Make the files as the disk has them."""
        state = self.recording.after_power_cut(self.last, self.sure, self.chance, self.torn)
        inodes = {}
        for name in sorted(state):
            path, (inode, content) = house.data / name, state[name]
            if content is None:
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            else:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_bytes(content)
                path.chmod(0o600)
            inodes[inode] = path.stat().st_ino
        self._adapt_record(house, inodes)
        if self.chance.random() < 0.9:  # checks take long, and find nothing else
            Path(due.repair_path(house.path)).write_bytes(b"%d\n" % time.time())

    def _adapt_record(self, house: House, inodes: dict[int, int]) -> None:
        """Let the record be of another boot, and name the files by their inodes as they are now."""
        lock = Path(lock_path(house.path))
        try:
            found = Record.unpack(lock.read_bytes()[:SIZE])
        except (OSError, ValueError):
            return
        if found.boot != b"-":
            found.boot = OTHER_BOOT
        if found.files.count(b",") == 2:
            *numbers, unique = found.files.split(b",")
            found.files = b"%d,%d,%s" % (
                *(inodes.get(int(number), 1) for number in numbers),
                unique,
            )
        lock.write_bytes(found.pack())

    def run(self, house: House) -> Counter[str]:
        """Ask a filter after the cut; return what came out.

        Raises:
            AssertionError: it did not answer, or something is missing.
        """
        self.build(house)
        expected = self.expected()
        assert ask_forked(house, request(9999)), "no answer on the first connection"
        wait_for_repairs(house)
        assert not to_salvage(house.path), "a copy is left unsalvaged"
        entries = in_child(lambda: read(house))
        done = subprocess.run(
            [VERIFY, "-q", house.path], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"not clean: {done.stderr[:200]}"
        lost = [entry for entry in expected if entry not in entries]
        older = [
            entry
            for entry, passed in expected.items()
            if passed and entry in entries and entries[entry].split(b"/")[1] == b"0"
        ]
        counts = Counter({"states": 1, "torn": self.torn, "set aside": bool(house.copies())})
        counts["set aside whole"] = bool(house.copies()) and not self.torn
        counts["lost"], counts["older"] = len(lost), len(older)
        counts["entries"] = len(expected)
        if self.torn:
            counts["states with losses by torn sectors"] = bool(lost or older)
        else:
            assert not lost, f"{len(lost)} of {len(expected)} lost: {lost[:3]}"
            assert not older, f"{len(older)} of {len(expected)} older: {older[:3]}"
        return counts


def read(house: House) -> dict[bytes, bytes]:
    """Return what the database has, after writing all of it out."""
    store = house.store()
    store.flush()
    store.close()
    return house.entries()


def run(
    states: int, seed: int, scenarios: list[str], directory: Path, verbose: bool = False
) -> dict[tuple[str, bool], Counter[str]]:
    """Cut the power in each scenario, durable and not; print failures, and return the counts."""
    results: dict[tuple[str, bool], Counter[str]] = {}
    kinds = [(scenario, durable) for scenario in scenarios for durable in (True, False)]
    for number, (scenario, durable) in enumerate(kinds):
        share = states // len(kinds) + (number < states % len(kinds))
        if not share:
            continue
        recording = record(scenario, durable, directory / f"{scenario}-{durable}")
        counts = results[scenario, durable] = Counter()
        for one in range(share):
            name = f"{scenario} {'durable' if durable else 'not durable'} seed {seed} case {one}"
            place = directory / "house"
            place.mkdir()
            house = House(place)
            house.configure(delay=0, auto_whitelist_senders=0, durable="yes" if durable else "no")
            cut = Cut(recording, durable, name)
            try:
                found = cut.run(house)
                counts += found
                if verbose and (found["set aside"] or found["lost"]):
                    print(name, dict(found), cut.last, cut.sure, recording.calls, flush=True)
            except AssertionError as error:
                counts["failed"] += 1
                print(f"FAILED {name}: {error}", flush=True)
            shutil.rmtree(place)
        print(scenario, "durable" if durable else "not durable", dict(counts), flush=True)
        shutil.rmtree(directory / f"{scenario}-{durable}")
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scenario", choices=list(SCENARIOS))
    parser.add_argument("--verbose", action="store_true", help="name what was set aside")
    options = parser.parse_args()
    scenarios = [options.scenario] if options.scenario else list(SCENARIOS)
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        results = run(options.states, options.seed, scenarios, Path(name), options.verbose)
    total = sum(results.values(), Counter())
    print(summary(results), flush=True)
    return int(bool(total["failed"]))


def summary(results: dict[tuple[str, bool], Counter[str]]) -> dict[str, int]:
    """Return the counts of all scenarios; quarantine sets aside in each of its states."""
    others = {kind: counts for kind, counts in results.items() if kind[0] != "quarantine"}
    total = sum(results.values(), Counter())
    return {
        "states": total["states"] + total["failed"],
        "failed": total["failed"],
        "with torn sectors": total["torn"],
        "set aside, by torn sectors": sum(
            counts["set aside"] - counts["set aside whole"] for counts in others.values()
        ),
        "sound databases set aside": sum(counts["set aside whole"] for counts in others.values()),
        "entries looked for": total["entries"],
        "lost, by torn sectors": total["lost"],
        "older, by torn sectors": total["older"],
    }


if __name__ == "__main__":
    sys.exit(main())
