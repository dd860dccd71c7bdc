"""What the tests of the commands share."""

from __future__ import annotations

import pytest
from readable import install

from .mailhost import NOW, Host, place


@pytest.fixture(scope="session")
def program():
    """Return an installed script that any user can run."""
    with place() as path:
        yield str(install(path) / "greylist")


@pytest.fixture
def host(monkeypatch):
    """Return a fresh host whose clock, for the commands, stands at NOW."""
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    with place() as path:
        yield Host(path)
