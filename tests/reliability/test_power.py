"""A sample of the power cuts; ``python -m tests.reliability.power`` makes 5,000."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.reliability import power
from tests.reliability.harness import VERIFY, scratch

pytestmark = [
    pytest.mark.skipif(not shutil.which(VERIFY), reason="needs db5.3-util"),
    pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler"),
]


@pytest.mark.parametrize(
    "scenario", ["creation", "updates", "rotation", "recovery", "quarantine", "takeover", "serve"]
)
def test_power_cuts(scenario):
    """Whatever a power cut leaves on the disk: the next filter answers, and nothing is missing."""
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        results = power.run(8, 1, [scenario], Path(name))
    total = sum(results.values(), power.Counter())
    assert total["states"] == 8
    assert total["failed"] == 0
