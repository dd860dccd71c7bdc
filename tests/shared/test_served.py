"""A server with a shared database: its hang holds up all connections for half a second, once."""

from __future__ import annotations

import os
import signal
import time

import pytest
from conftest import DEFERRED, PASSED, request
from server import Server, replies, several
from valkey_server import ValkeyServer


@pytest.fixture
def served(place):
    with ValkeyServer() as valkey:
        place.configure(database=valkey.tcp)
        with Server(place) as server:
            yield server, valkey


def ask_all(connections, start):
    """Return the replies to a request on each connection, and after how many seconds they came."""
    began = time.monotonic()
    for number, connection in enumerate(connections, start):
        connection.sendall(several(number, 1))
    answers = {replies(connection, 1) for connection in connections}
    return answers, time.monotonic() - began


def test_a_database_that_hangs(served):
    """While it hangs, mail passes: after half a second at first, then at once; later it waits."""
    server, valkey = served
    connections = [server.connect() for _ in range(20)]
    assert ask_all(connections, 0)[0] == {DEFERRED}
    os.kill(valkey.process.pid, signal.SIGSTOP)
    try:
        answers, seconds = ask_all(connections, 100)
        assert answers == {PASSED}
        assert 0.4 < seconds < 2
        answers, seconds = ask_all(connections, 200)
        assert answers == {PASSED}
        assert seconds < 0.4
    finally:
        os.kill(valkey.process.pid, signal.SIGCONT)
    end = time.monotonic() + 20
    while ask_all(connections, 300)[0] != {DEFERRED}:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert server.ask(request(sender="u0@example.com")) == DEFERRED
    for connection in connections:
        connection.close()
    assert server.end() == 0
    assert server.said.count(b"until it is back, mail is let through") == 1
