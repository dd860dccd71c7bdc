"""What the tests of the commands share."""

from __future__ import annotations

import pytest
from mailhost import NOW, Host


@pytest.fixture
def host(tmp_path, monkeypatch):
    """Return a fresh host whose clock, for the commands, stands at NOW."""
    monkeypatch.setattr("time.time", lambda: NOW)
    monkeypatch.setenv("TZ", "UTC")
    return Host(tmp_path)
