"""One process for all connections: real sockets, real processes, a real database."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import DEFERRED, PASSED, SCRIPT, request
from postfix_harness import free_port
from readable import as_root, can_be_root
from server import Server, replies, several

from greylist.serve import listen
from greylist.settings import Settings

BROKEN = b"request=nonsense\n\n"


def test_the_filter_s_answers(place):
    """The answers are the filter's, and the database is the same."""
    with Server(place) as server:
        assert server.ask(request() * 2, 2) == DEFERRED * 2
        assert place.run(data=request()).stdout == DEFERRED
        place.age(400)
        assert server.ask(request()) == PASSED
        assert place.run(data=request()).stdout == PASSED
        assert server.end() == 0


@pytest.mark.parametrize("size", [1, 7, 100])
def test_requests_in_pieces(place, size):
    """However a connection cuts them up, requests are answered once each, in their order."""
    data = request() + request(client_address="10.0.0.1", recipient="postmaster@example.org")
    place.whitelist.write_bytes(b"^10\\.\n")
    with Server(place) as server, server.connect() as connection:
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])
        assert replies(connection, 2) == DEFERRED + PASSED


def test_every_cut(place):
    """Wherever a connection's bytes are cut in two, its requests are answered, in their order."""
    place.whitelist.write_bytes(b"^10\\.\n")
    data = b"nonsense\n=1\n" + request(sender="", helo_name="x\r\0\xff=") + b"x=\n"
    data += request(client_address="10.0.0.1") + request(recipient=b"b=c" * 300)
    with Server(place) as server:
        cuts = [(server.connect(), cut) for cut in range(1, len(data), 3)]
        for connection, cut in cuts:
            connection.sendall(data[:cut])
        assert server.ask(request()) == DEFERRED  # what came before has been read
        for connection, cut in cuts:
            connection.sendall(data[cut:])
        for connection, cut in cuts:
            assert replies(connection, 3) == DEFERRED + PASSED + DEFERRED, cut
            connection.close()


def test_all_at_once(place):
    """A server, filters and commands use one database at once, and nothing is lost."""
    stop = threading.Event()

    def command(*arguments):
        while not stop.is_set():
            result = place.run(*arguments)
            assert result.returncode == 0, result.stderr

    def filters(number):
        for start in range(0, 60, 20):
            data = several(number * 1000 + start, 20)
            assert place.run(data=data).stdout == DEFERRED * 20

    def clients(number):
        with server.connect() as connection:
            for one in range(100):
                connection.sendall(several(number * 1000 + one, 1))
                assert replies(connection, 1) == DEFERRED

    with Server(place) as server, ThreadPoolExecutor(8) as pool:
        assert server.ask(request()) == DEFERRED
        commands = [pool.submit(command, *one) for one in (["list"], ["purge"], ["stats"])]
        work = [pool.submit(clients, number) for number in range(3)]
        work += [pool.submit(filters, number) for number in range(3, 5)]
        try:
            for one in work:
                one.result()
        finally:
            stop.set()
        for one in commands:
            one.result()
        assert server.end() == 0
        said = [line for line in server.said.splitlines() if b"acting as root" not in line]
        assert not [line for line in said if b"warning" in line or b"fatal" in line]
    assert len(place.entries()) == 1 + 3 * 100 + 2 * 60


def test_many_connections_at_once(place):
    """500 connections are answered, each with its own replies in their order."""
    with Server(place) as server:
        connections = [server.connect() for _ in range(500)]
        for number, connection in enumerate(connections):
            connection.sendall(several(number * 3, 3))
        for connection in connections:
            assert replies(connection, 3) == DEFERRED * 3
            connection.close()
        assert server.end() == 0
    assert len(place.entries()) == 1500


def test_memory(place):
    """A server with 100 connections takes 25 MiB of its own at most, and has no OpenSSL in it."""
    # uvloop, which may be installed here, needs it.
    place.environment_extra["PYTHONPATH"] = str(place.directory)
    (place.directory / "sitecustomize.py").write_text("import sys\nsys.modules['uvloop'] = None\n")
    with Server(place) as server:
        connections = [server.connect() for _ in range(100)]
        for number, connection in enumerate(connections):
            connection.sendall(several(number, 1))
        for connection in connections:
            assert replies(connection, 1) == DEFERRED
            connection.close()
        process = Path(f"/proc/{server.process.pid}")
        assert "libssl" not in (process / "maps").read_text()
        sums = dict(
            line.split(":") for line in (process / "smaps_rollup").read_text().splitlines()[1:]
        )
        assert int(sums["Pss"].split()[0]) < 25 * 1024


def test_a_broken_client_harms_nobody_else(place):
    """Who breaks the protocol is hung up on; what it asked before is answered, as are others."""
    with Server(place) as server, server.connect() as good, server.connect() as bad:
        bad.sendall(request() + BROKEN + request())
        assert replies(bad, 3) == DEFERRED
        assert bad.recv(1) == b""
        good.sendall(request(sender="other@example.com"))
        assert replies(good, 1) == DEFERRED
        with server.connect() as long:
            long.sendall(b"x" * 70000)
            assert long.recv(1) == b""
        with server.connect() as half:
            half.sendall(request()[:-5])
            half.shutdown(socket.SHUT_WR)
            assert half.recv(1) == b""
        server.end()
        assert b"unrecognized request type: 'nonsense'" in server.said
        assert b"line of more than" in server.said
        assert b"in the middle of a request" in server.said


def test_a_slow_client_holds_nobody_up(place):
    """A client that stops within a request, or takes no replies, delays no other."""
    with Server(place) as server, server.connect() as slow, server.connect() as deaf:
        slow.sendall(request()[:20])
        deaf.settimeout(0.5)
        full = False
        while not full:
            try:
                deaf.sendall(several(0, 500))
            except TimeoutError:
                full = True
        began = time.monotonic()
        assert server.ask(request(sender="c@example.com")) == DEFERRED
        assert time.monotonic() - began < 5


def test_the_newest_waits(place):
    """Beyond max_connections the newest waits until another one ends."""
    with Server(place, "--max-connections", "3") as server:
        others = [server.connect() for _ in range(3)]
        for number, other in enumerate(others):
            other.sendall(several(number, 1))
            assert replies(other, 1) == DEFERRED
        with server.connect() as newest:
            newest.settimeout(0.3)
            newest.sendall(several(9, 1))
            with pytest.raises(TimeoutError):
                newest.recv(1)
            others.pop().close()
            newest.settimeout(10)
            assert replies(newest, 1) == DEFERRED
        for other in others:
            other.close()


def test_sigterm(place):
    """On SIGTERM what has arrived is answered, and the end comes within a second."""
    with Server(place) as server:
        connections = [server.connect() for _ in range(50)]
        for number, connection in enumerate(connections):
            connection.sendall(several(1000 + number, 1))
            assert replies(connection, 1) == DEFERRED
        server.process.send_signal(signal.SIGSTOP)
        for number, connection in enumerate(connections):
            connection.sendall(several(number, 1))
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        for connection in connections:
            assert replies(connection, 1) == DEFERRED
            assert connection.recv(1) == b""
            connection.close()
        assert server.process.wait(10) == 0
        assert time.monotonic() - began < 3


def test_trouble_hangs_up_and_passes(place):
    """With a database in trouble a connection is hung up on; when it is over, all goes on."""
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
        place.data.chmod(0o777)
        lock = place.data / "greylist.db.lock"
        lock.rename(lock.with_suffix(".away"))
        time.sleep(1.1)
        assert server.ask(request()) == b""
        lock.with_suffix(".away").rename(lock)
        place.data.chmod(0o700)
        time.sleep(1.1)
        assert server.ask(request(sender="c@example.com")) == DEFERRED


def test_sockets(place):
    """A dead server's socket is replaced, a living one's is not; others' files neither."""
    with Server(place) as server:
        second = subprocess.run(
            [SCRIPT, "serve", "--listen", f"unix:{server.path}"],
            env=place.environment,
            capture_output=True,
            check=False,
        )
        assert second.returncode == 1
        assert b"is in use" in second.stderr
        server.end(signal.SIGKILL)
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
    os.unlink(server.path)
    with open(server.path, "w") as file:
        file.write("mine")
    third = subprocess.run(
        [SCRIPT, "serve", "--listen", f"unix:{server.path}"],
        env=place.environment,
        capture_output=True,
        check=False,
    )
    assert b"is not a socket; mend it: mv " in third.stderr
    with open(server.path) as file:
        assert file.read() == "mine"


def test_several_addresses(place):
    """It listens on all addresses that are named, with the mode that is wanted."""
    place.configure(listen_mode="0600")
    port, other = free_port(), free_port()
    more = ("--listen", f"inet:127.0.0.1:{port}", "--listen", f"inet:[::1]:{other}")
    with Server(place, *more) as server:
        assert os.stat(server.path).st_mode & 0o777 == 0o600
        with server.connect(("127.0.0.1", port)) as connection:
            connection.sendall(request())
            assert replies(connection, 1) == DEFERRED
        with socket.create_connection(("::1", other)) as connection:
            connection.sendall(request())
            assert replies(connection, 1) == DEFERRED


def test_an_address_that_others_reach(place):
    """An address that is no loopback one is warned of."""
    with Server(place, "--listen", f"inet:0.0.0.0:{free_port()}") as server:
        server.end()
        assert b"can be reached from other hosts" in server.said


ACTIVATE = """
import os, socket, sys
path, *command = sys.argv[1:]
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
os.execv(command[0], command)
"""


def test_systemd(place, tmp_path):
    """Sockets that systemd hands over are served, and it is told when they are, and at the end."""
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(tmp_path / "notify"))
    told.settimeout(20)
    path = str(place.directory / "socket")
    process = subprocess.Popen(
        [sys.executable, "-c", ACTIVATE, path, SCRIPT, "serve"],
        env=place.environment | {"NOTIFY_SOCKET": str(tmp_path / "notify")},
        close_fds=False,
    )
    assert told.recv(99) == b"READY=1"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(request())
        assert replies(connection, 1) == DEFERRED
    process.terminate()
    assert told.recv(99) == b"STOPPING=1"
    assert process.wait(10) == 0
    told.close()


def test_settings_are_followed(place):
    """An edit of the settings counts without a restart."""
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
        place.configure(reply="wait")
        time.sleep(0.3)
        assert server.ask(request()) == b"action=defer_if_permit wait\n\n"


def test_workers(place):
    """Several processes share the sockets; one that is killed is started again."""
    with Server(place, "--workers", "2") as server:
        assert server.ask(several(0, 20), 20) == DEFERRED * 20
        children = subprocess.run(
            ["ps", "--ppid", str(server.process.pid), "-o", "pid="],
            capture_output=True,
            check=True,
        ).stdout.split()
        assert len(children) == 2
        os.kill(int(children[0]), signal.SIGKILL)
        time.sleep(1.5)
        for number in range(20):
            assert server.ask(several(100 + number, 1)) == DEFERRED
        assert server.end() == 0
        assert b"ended with signal 9; starting another" in server.said


def test_kills_lose_nothing(place):
    """What the server answered before it was killed is there afterwards."""
    answered = []
    for turn in range(5):
        with Server(place) as server, contextlib.ExitStack() as stack:
            connections = [stack.enter_context(server.connect()) for _ in range(8)]
            for number, connection in enumerate(connections):
                connection.sendall(several(turn * 10000 + number * 1000, 200))
            time.sleep(0.01 * turn)
            server.process.kill()
            for number, connection in enumerate(connections):
                data = b""
                try:
                    data = replies(connection, 200)
                except ConnectionResetError:
                    pass
                start = turn * 10000 + number * 1000
                answered += range(start, start + data.count(b"\n\n"))
    stored = place.entries()
    for number in answered:
        assert b"192.0.2.0/u%d@example.com/recipient@example.org" % number in stored


def test_metrics(place):
    """Decisions by reason, delays, durations and the entries are shown in Prometheus' form."""
    port = free_port()
    with Server(place, "--metrics", f"127.0.0.1:{port}") as server:
        server.ask(request())
        place.age(400)
        server.ask(request())
        url = f"http://127.0.0.1:{port}/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            text = answer.read().decode()
        for line in (
            'greylist_decisions_total{reason="new",verdict="greylist"} 1.0',
            'greylist_decisions_total{reason="triplet found",verdict="pass"} 1.0',
            "greylist_passed_after_seconds_count 1.0",
            "greylist_transaction_requests_count 2.0",
            "greylist_store_errors_total 0.0",
            'greylist_entries{state="passed"} 1',
        ):
            assert line in text, text
        with socket.create_connection(("127.0.0.1", port)) as rude:
            rude.sendall(b"POST / HTTP/1.1\r\n\r\n")
            assert rude.recv(99).startswith(b"HTTP/1.1 405 ")
        assert server.ask(request()) == PASSED


@pytest.mark.root
def test_root_becomes_the_owner(place):
    """Started as root it acts as the owner of the database's directory."""
    assert can_be_root()
    for path in (place.directory, *place.directory.parents):
        path.chmod(path.stat().st_mode | 0o001)
    as_root("chown", "nobody", place.data)
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
        with open(f"/proc/{server.process.pid}/status") as file:
            uids = next(line for line in file if line.startswith("Uid:")).split()[1:]
        assert len(set(uids)) == 1
        assert uids[0] != "0"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], b"there is no address to listen on; mend it: listen = "),
        (["--listen", "tcp:1"], b"'tcp:1' is no address to listen on"),
        (["--listen", "inet:localhost:25"], b"use unix:/PATH, inet:127.0.0.1:10023"),
        (["--listen", "unix:/nowhere/at/all"], b"unix:/nowhere/at/all: No such file"),
        (["--workers", "0"], b"use 1 or more"),
        (["--metrics", "9150"], b"127.0.0.1:9150"),
    ],
)
def test_wrong_usage(place, arguments, words):
    """What cannot be done is said in the user's words."""
    result = subprocess.run(
        [SCRIPT, "serve", *arguments], env=place.environment, capture_output=True, check=False
    )
    assert result.returncode in {1, 2}
    assert words in result.stderr


@pytest.mark.root
def test_root_does_nothing_through_a_link(tmp_path, monkeypatch):
    """Whoever owns the socket's directory cannot have root open another file to him."""
    secret, path = tmp_path / "secret", tmp_path / "socket"
    secret.touch(0o600)
    umask = os.umask

    def swap(mask):
        """Be the other user, who is quick: the mask is set back when the socket is there."""
        if path.exists():
            path.unlink()
            path.symlink_to(secret)
        return umask(mask)

    monkeypatch.setattr(os, "umask", swap)
    configuration = Settings()
    configuration.set("listen_owner", "nobody")
    listen._unix(str(path), configuration).close()
    assert secret.stat().st_mode & 0o777 == 0o600
    assert secret.stat().st_uid == 0
