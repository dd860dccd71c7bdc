"""The stand-in for bsddb3: the tests of the store and of the filter, where only berkeleydb is."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
STAND_IN = Path(sys.prefix) / "berkeleydb"
"""Where ``.ci/setup test`` has it: beside the packages of the tests' Python, not among them."""


@pytest.mark.skipif(not STAND_IN.exists(), reason=f"berkeleydb is not in {STAND_IN}")
def test_without_bsddb3(tmp_path):
    """Store and filter pass their tests in an environment without bsddb3."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path], check=True)
    program, script = tmp_path / "bin" / "python", tmp_path / "bin" / "greylist"
    places = {"base": str(tmp_path), "platbase": str(tmp_path)}
    packages = Path(sysconfig.get_path("purelib", "venv", places))
    for found in [*Path(sysconfig.get_path("purelib")).iterdir(), STAND_IN / "berkeleydb"]:
        if not found.name.startswith(("bsddb3", "_bsddb")):
            (packages / found.name).symlink_to(found)
    lines = (Path(sys.executable).parent / "greylist").read_text().splitlines(keepends=True)
    script.write_text(f"#!{program}\n" + "".join(lines[1:]))
    script.chmod(0o755)
    absent = subprocess.run([program, "-c", "import bsddb3"], capture_output=True, check=False)
    assert b"ModuleNotFoundError" in absent.stderr
    command = [
        program,
        "-m",
        "pytest",
        "-q",
        "-p",
        "berkeleydb_stand_in",
        "-p",
        "no:cacheprovider",
        "-m",
        "not root",
    ]
    done = subprocess.run(
        [*command, "tests/test_store.py", "tests/test_filter.py"],
        cwd=TESTS.parent,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.returncode, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
