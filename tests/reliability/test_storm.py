"""Short storms, corruption and targeted kills; the modules' own commands run the long ones."""

from __future__ import annotations

import shutil

import pytest

from greylist.store.berkeley import environment
from greylist.store.berkeley import store as berkeley
from tests.reliability import corruption, serve_storm, storm, targeted
from tests.reliability.harness import VERIFY

pytest_plugins = ["tests.reliability.fixtures"]

pytestmark = pytest.mark.skipif(not shutil.which(VERIFY), reason="needs db5.3-util")
traced = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")


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


@traced
@pytest.mark.parametrize(
    ("scenario", "every"),
    [("creation", 9), ("update", 3), ("recovery", 9), ("takeover", 5), ("quarantine", 11)],
)
def test_targeted_kills(scenario, every):
    """A filter may die at any call that writes: the next one answers, and nothing is lost."""
    counts = targeted.kills(scenario, every)
    assert counts["killed"] >= 3
    assert counts["failed"] == 0


@traced
@pytest.mark.parametrize(
    "injection", ["pwrite64:error=ENOSPC:when=4+", "fdatasync:error=EIO:when=1+"]
)
def test_injected_errors(injection):
    """An error of the disk is survived without loss."""
    targeted.run_case("recovery", injection)
