"""What the tests of the commands share."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from readable import install

from .mailhost import NOW, Host, place
from .setup_host import SetupHost


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


@pytest.fixture
def mx(host, program):
    """Return a host whose Postfix has not heard of greylist."""
    return SetupHost(host, program)


@pytest.fixture
def several(program):
    """Return a function that calls another with a host of its own for each of several cases.

    Postfix's programs wait until main.cf is some seconds old: side by side, they wait once.
    """

    def each(function, cases):
        def one(case):
            with place() as path:
                return function(SetupHost(Host(path), program), *case)

        with ThreadPoolExecutor(len(cases)) as pool:
            return list(pool.map(one, cases))

    return each
