"""Places for the reliability tests."""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.reliability.harness import House


@pytest.fixture
def house(tmp_path):
    """Make a house."""
    house = House(tmp_path)
    yield house
    house.close()


@pytest.fixture
def small_disk(tmp_path):
    """Make a house on a disk of 48 MiB."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    place = tmp_path / "disk"
    place.mkdir()
    owner = f"size=48m,uid={os.geteuid()}"
    mount = [*sudo, "mount", "-t", "tmpfs", "-o", owner, "tmpfs", str(place)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("cannot mount a tmpfs")
    house = House(place)
    yield house
    house.close()
    subprocess.run([*sudo, "umount", "-l", str(place)], check=True)
