"""Short storms, corruption and targeted kills; the modules' own commands run the long ones."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys

import pytest

from greylist.store.berkeley import environment
from greylist.store.berkeley import store as berkeley
from tests.reliability import corruption, serve_storm, storm
from tests.reliability.harness import VERIFY

pytest_plugins = ["tests.reliability.fixtures"]

pytestmark = pytest.mark.skipif(not shutil.which(VERIFY), reason="needs db5.3-util")
compiled = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")


@pytest.mark.parametrize("logs", ["usual", "small"])
def test_kill_storm(house, monkeypatch, logs):
    """No acknowledged update is lost when writers are killed at random moments."""
    if logs == "small":
        for module in (environment, berkeley):
            monkeypatch.setattr(module, "CHECKPOINT_KBYTES", 32)
        monkeypatch.setattr(environment, "LOG_FILE", 1 << 16)
        monkeypatch.setattr(berkeley, "CHECKPOINT_EVERY", 5)
    counts = storm.storm(house, kills=60, writers=8)
    assert counts["acknowledged"] > 100


def test_filter_storm(house):
    """No answered request is lost when filters are killed at random moments."""
    counts = storm.filter_storm(house, kills=60, writers=8)
    assert counts["acknowledged"] > 100


def test_serve_storm(house):
    """No answered request is lost when the server is killed at random moments."""
    counts = serve_storm.storm(house, kills=8, clients=4)
    assert counts["answered"] > 50


def test_corruption():
    """Requests are answered again whatever became of the files; each kind of file twice."""
    assert corruption.run(range(12)) == 0


def targeted(*arguments: object) -> dict[str, int]:
    """Return the counts of targeted kills or errors."""
    command = [sys.executable, "-m", "tests.reliability.targeted", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    counts = ast.literal_eval(done.stdout.splitlines()[-1])
    assert counts["failed"] == 0, done.stdout
    return counts


@compiled
@pytest.mark.parametrize(
    ("scenario", "every"),
    [
        ("creation", 14),
        ("update", 3),
        ("checkpoint", 9),
        ("recovery", 14),
        ("takeover", 11),
        ("quarantine", 21),
        ("salvage", 25),
        ("check", 13),
        ("purge", 9),
    ],
)
def test_targeted_kills(scenario, every):
    """A process may die at any call that writes: the next one answers, and nothing is lost."""
    assert targeted("--scenario", scenario, "--every", every)["cases"] >= 3


@compiled
def test_killed_creation_leaves_nothing_behind():
    """A database that was not given its name before a death is deleted by the next creation."""
    assert targeted("--scenario", "creation", "--call", "rename")["cases"] == 1


@compiled
@pytest.mark.parametrize(
    ("scenario", "call", "every"),
    [("creation", "rename", 1), ("recovery", "pwrite", 7), ("quarantine", "rename", 5)],
)
def test_injected_errors(scenario, call, every):
    """An error of the disk is survived without loss, and no sound database is set aside."""
    counts = targeted("--errors", "--scenario", scenario, "--call", call, "--every", every)
    assert counts["cases"] >= 4
