"""A shared database that is away does not stop mail, and is left alone for a while."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import time

import pytest
from valkey_server import ValkeyServer

from greylist.store.valkey.errors import Unavailable
from greylist.store.valkey.outage import LOG_EVERY
from tests.shared.house import DEFERRED, DUNNO, Proxy, SharedHouse, logged, request

MOST = 1.5
"""The second that no request waits for, and half a one for a busy machine."""


@pytest.fixture(scope="module")
def running():
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def server(running):
    running.ask("FLUSHALL")
    return running


@pytest.fixture
def house(server):
    house = SharedHouse(server.tcp)
    yield house
    house.close()


def asked(process, **attributes):
    """Return the reply to a request, which came within MOST."""
    began = time.monotonic()
    reply = process.ask(request(**attributes))
    assert time.monotonic() - began < MOST
    return reply


@contextlib.contextmanager
def stopped(server):
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.process.pid, signal.SIGCONT)


@contextlib.contextmanager
def busy(server):
    server.ask("CONFIG", "SET", "busy-reply-threshold", "1")
    with contextlib.suppress(Unavailable):
        server.ask("EVAL", "while true do end", "0", seconds=0.2)
    try:
        yield
    finally:
        server.ask("SCRIPT", "KILL")
        # The script ends at its next look, and the server answers then.
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(Unavailable):
                server.ask("PING")
                break
            time.sleep(0.05)


@contextlib.contextmanager
def replica(server):
    server.ask("REPLICAOF", "127.0.0.1", "1")
    try:
        yield
    finally:
        server.ask("REPLICAOF", "NO", "ONE")


@contextlib.contextmanager
def full(server):
    server.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        yield
    finally:
        server.ask("CONFIG", "SET", "maxmemory", "0")


@contextlib.contextmanager
def locked(server):
    server.ask("CONFIG", "SET", "requirepass", "sesame")
    server.ask("CLIENT", "KILL", "SKIPME", "no", url=server.url.replace("//", "//:sesame@"))
    try:
        yield
    finally:
        url = server.url.replace("//", "//:sesame@")
        server.ask("CONFIG", "SET", "requirepass", "", url=url)


@contextlib.contextmanager
def forbidden(server):
    server.ask("ACL", "SETUSER", "default", "-eval", "-evalsha")
    try:
        yield
    finally:
        server.ask("ACL", "SETUSER", "default", "+@all")


@contextlib.contextmanager
def loading(server):
    script = "for n = 1, 3000 do redis.call('SET', 'other:' .. n, 1) end"
    server.ask("EVAL", script, "0")
    server.ask("SAVE")
    server.kill()
    server.launch("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    end = time.monotonic() + 5
    while True:
        with contextlib.suppress(Exception):
            if b"loading:1" in server.ask("INFO"):
                break
        assert time.monotonic() < end
    try:
        yield
    finally:
        server.kill()
        (server.directory / "dump.rdb").unlink()
        server.start()


@contextlib.contextmanager
def dead(server):
    server.kill()
    try:
        yield
    finally:
        server.start()


TROUBLES = {
    "hanging": (stopped, "no answer in time"),
    "busy": (busy, "BUSY"),
    "read-only": (replica, "READONLY"),
    "full": (full, "OOM"),
    "wrong password": (locked, "NOAUTH"),
    "no rights": (forbidden, "NOPERM"),
    "loading": (loading, "LOADING"),
    "dead": (dead, "Connection refused"),
}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_trouble(server, house, trouble):
    """Mail is let through at once, the log says why once, and afterwards all is as before."""
    context, reason = TROUBLES[trouble]
    first, second = house.filter(), house.filter()
    assert asked(first, sender="before@example.com") == DEFERRED
    assert asked(second) == DEFERRED
    with context(server):
        began = time.monotonic()
        for process in (first, second, house.filter(), first):
            assert asked(process, sender="during@example.com") == DUNNO
            if process is not first:
                continue
            # Now all know: nobody tries.
            began = time.monotonic()
            assert asked(process, sender="during@example.com") == DUNNO
            assert time.monotonic() - began < 0.2
        house.rest()
        assert asked(first) == DUNNO
    house.rest()
    assert asked(second, sender="during@example.com") == DEFERRED
    assert asked(first) == DEFERRED
    text = "".join(map(logged, house.filters))
    warnings = [line for line in text.splitlines() if "warning" in line]
    assert len(warnings) == 1, warnings
    assert reason in warnings[0]
    assert "mail is let through" in warnings[0]
    assert text.count("the database is back") == 1
    assert text.count("reason=database away") == 7


def test_nobody_there():
    """A server that was never there: mail goes on, also of a filter whose first request it is."""
    house = SharedHouse("valkey+unix:///nonexistent/socket")
    assert asked(house.filter()) == DUNNO
    assert "No such file" in house.close()


def test_no_such_host():
    """A name that is not found, or not found in time, does not hold up mail either."""
    house = SharedHouse("valkey://no-such-host.invalid")
    assert asked(house.filter()) == DUNNO
    assert "no-such-host.invalid" in house.close()


def test_no_connection():
    """A host that does not even answer a connection costs no more than half a second."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        house = SharedHouse(f"valkey://127.0.0.1:{port}")
        process = house.filter()
        assert asked(process) == DUNNO
        assert "no answer in time" in house.close()
        for one in waiting:
            one.close()


def test_another_service():
    """What answers is no Valkey or Redis: the log says so."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        house = SharedHouse(f"valkey://127.0.0.1:{listener.getsockname()[1]}")
        process = house.filter()
        os.write(process.process.stdin.fileno(), request())
        peer, _ = listener.accept()
        peer.sendall(b"220 mail.example.com ESMTP\r\n")
        assert process.ask(b"") == DUNNO
        assert "no Valkey or Redis" in house.close()
        peer.close()


def test_cut_anywhere(server):
    """Wherever a reply is cut, the request is answered, and by the next one all is well."""
    proxy = Proxy(server.port)
    house = SharedHouse(proxy.url)
    process = house.filter()
    assert process.ask(request()) == DEFERRED
    for place in range(8):
        proxy.cut = place
        assert asked(process, sender=f"s{place}@example.com") == DUNNO
        proxy.cut = None
        house.rest()
        assert asked(process, sender=f"s{place}@example.com") == DEFERRED
    text = house.close()
    assert "hung up" in text
    assert text.count("warning") == 1
    proxy.close()


def test_trickle(server):
    """Half a second is for the whole request: bytes that trickle in do not prolong it."""
    proxy = Proxy(server.port)
    house = SharedHouse(proxy.url)
    proxy.trickle = 0.2
    assert asked(house.filter()) == DUNNO
    house.close()
    proxy.close()


def test_idle_connection(server, house):
    """A connection that the server closed meanwhile is made anew, and nobody notices."""
    process = house.filter()
    assert asked(process) == DEFERRED
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    assert asked(process, sender="other@example.com") == DEFERRED
    server.kill()
    server.start()
    assert asked(process, sender="third@example.com") == DEFERRED
    assert "away" not in logged(process)


@pytest.mark.parametrize("make", [None, os.mkfifo], ids=["missing", "FIFO"])
def test_password_file(server, make):
    """A file that cannot be read is trouble as well; one that is mended needs no restart."""
    file = SharedHouse("valkey://h")
    path = file.directory / "password"
    if make:
        make(path)
    house = SharedHouse(server.url, database_password_file=path)
    with locked(server):
        process = house.filter()
        assert asked(process) == DUNNO
        path.unlink(missing_ok=True)
        path.write_text("sesame\n")
        house.rest()
        assert asked(process) == DEFERRED
    assert f"cannot read {path}" in house.close()
    file.close()


def test_once_a_minute(house, server):
    """The log gets a line a minute from all filters together, as long as it lasts."""
    process = house.filter()
    server.kill()
    assert asked(process) == DUNNO
    house.rest()
    assert asked(process) == DUNNO
    assert logged(process).count("warning") == 1
    house.outage.write_text(f"{int(time.time()) - LOG_EVERY}")
    house.rest()
    assert asked(house.filter()) == DUNNO
    assert "".join(map(logged, house.filters)).count("warning") == 2
    server.start()


@pytest.mark.parametrize("kind", ["link", "directory", "socket"])
def test_foreign_file(server, house, kind, tmp_path):
    """Something else in the place of the filters' file is left alone, and each goes by itself."""
    target = tmp_path / "target"
    target.write_text("precious")
    os.utime(target, (1, 1))
    if kind == "link":
        house.outage.symlink_to(target)
    elif kind == "directory":
        house.outage.mkdir()
    else:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(house.outage))
        listener.close()
    process = house.filter()
    server.kill()
    assert asked(process) == DUNNO
    assert asked(process) == DUNNO
    assert logged(process).count("warning") == 1
    server.start()
    assert target.read_text() == "precious"
    assert target.stat().st_mtime == 1
    if kind == "directory":
        house.outage.rmdir()


def test_private_file(house, server):
    """The file is the filters' own."""
    server.kill()
    assert asked(house.filter()) == DUNNO
    assert stat.S_IMODE(house.outage.stat().st_mode) == 0o600
    server.start()
