"""What clients, administrators and machines do to a server: it goes on, or ends in words."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import DEFERRED, PASSED, SCRIPT, request
from postfix_harness import free_port
from readable import as_root, can_be_root
from server import Server, replies, rss, several

from greylist.commands.setup.server import listens
from greylist.store.berkeley.record import SIZE, Record
from tests.waiting import readable, until


def limited(number):
    """Return a function that bounds the open files of a process to be."""
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def test_more_connections_than_descriptors(place):
    """With few descriptors there are few connections, which are answered; the rest wait."""
    with Server(place, preexec_fn=limited(80)) as server:
        first = [server.connect() for _ in range(16)]
        for number, connection in enumerate(first):
            connection.sendall(several(number, 1))
        for connection in first:
            assert replies(connection, 1) == DEFERRED
        later = [server.connect() for _ in range(60)]
        for number, connection in enumerate(later):
            connection.sendall(several(100 + number, 1))
        for connection in first:
            connection.close()
        for connection in later:
            assert replies(connection, 1) == DEFERRED
            connection.close()
        assert server.end() == 0
        assert b"only 80 files may be open: 16 connections at once; mend it: " in server.said


def test_a_flood_of_requests_of_nobody(place):
    """Of who breaks the protocol thousands of times in one piece, the first time is enough."""
    with Server(place) as server, server.connect() as flood:
        flood.sendall(b"\n" * 60000)
        began = time.monotonic()
        assert server.ask(request()) == DEFERRED
        assert time.monotonic() - began < 5
        assert flood.recv(1) == b""
        server.end()
        assert server.said.count(b"unrecognized request type") == 1


def test_one_who_asks_for_hundreds_at_once(place):
    """All requests of one piece are answered in their order, beyond one transaction too."""
    with Server(place) as server:
        assert server.ask(several(0, 700) + request(sender="u0@example.com"), 701) == DEFERRED * 701
    assert len(place.entries()) == 700


def test_a_request_that_does_not_end(place):
    """Of a request that goes on and on, a bounded part is kept."""
    with Server(place) as server:
        before = rss(server.process.pid)
        connections = [server.connect() for _ in range(100)]
        line = b"%d=" + b"x" * 1000 + b"\n"
        for number, connection in enumerate(connections):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(b"".join(line % one for one in range(number, number + 900)))
        assert server.ask(request()) == DEFERRED
        assert rss(server.process.pid) - before < 40 << 20
        for connection in connections:
            assert is_hung_up_on(connection)
            connection.close()
        server.end()
        assert server.said.count(b"request of more than 131072 bytes") == 100


def test_connections_of_all_workers(place):
    """max_connections is the number of all workers' connections."""
    with Server(place, "--workers", "2", "--max-connections", "4") as server:
        others = [server.connect() for _ in range(20)]
        for number, other in enumerate(others):
            other.sendall(several(number, 1))
        end = time.monotonic() + 10
        answered = set()
        while len(answered) < 4 and time.monotonic() < end:
            answered |= set(readable(*set(others) - answered, seconds=0.1))
        assert not readable(*set(others) - answered, seconds=1)
        assert len(answered) == 4
        for other in others:
            other.close()


def test_a_client_that_is_half_closed(place):
    """Who has said all that he will is answered before he is hung up on."""
    with Server(place) as server, server.connect() as half:
        half.sendall(request())
        half.shutdown(socket.SHUT_WR)
        assert replies(half, 2) == DEFERRED


def test_a_client_that_resets(place):
    """A client that is gone before its answer comes is not logged, and harms nobody."""
    port = free_port()
    with Server(place, "--listen", f"inet:127.0.0.1:{port}") as server:
        for number in range(20):
            gone = server.connect(("127.0.0.1", port))
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            gone.sendall(several(number, 1))
            gone.close()
        assert server.ask(request()) == DEFERRED
        server.end()
        assert b"fatal" not in server.said


def test_the_database_is_replaced(place):
    """A server whose database's directory was deleted and made anew goes on with the new one."""
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
        shutil.rmtree(place.data)
        time.sleep(1.1)
        assert server.ask(request()) == b""
        assert server.ask(request()) == b""
        assert b"install -d -o " in server.said
        place.data.mkdir(mode=0o700)
        assert server.ask(request()) == DEFERRED
        place.age(400)
        assert server.ask(request()) == PASSED


def leave_in_mid_update(place):
    """Have the record say what a process leaves that is killed while it writes."""
    with open(f"{place.database}.lock", "r+b", buffering=0) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = Record.unpack(lock.read(SIZE))
        record.dirty, record.pid = True, 1
        os.pwrite(lock.fileno(), record.pack(), 0)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_recoveries_use_up_descriptors(place, workers):
    """A process that has no descriptor left for one more recovery ends, to be started again."""
    with Server(place, "--workers", workers, preexec_fn=limited(100)) as server:
        assert server.ask(request()) == DEFERRED
        hung_up = 0
        for number in range(45):
            leave_in_mid_update(place)
            with contextlib.suppress(OSError):  # between two processes nobody listens
                hung_up += server.ask(several(number, 1)) != DEFERRED
            if server.process.poll() is not None:
                break
        if workers == "1":
            assert server.process.wait(10) == 3
            assert hung_up <= 1
        else:
            time.sleep(1.5)
            assert server.ask(several(99, 1)) == DEFERRED
            assert server.end() == 0
            assert b"starting another" in server.said
        assert b"fatal: %s: Too many open files" % bytes(place.database) in server.said
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED


HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.flock(file, fcntl.LOCK_EX)
print(flush=True)
time.sleep(60)
"""


def test_sigterm_while_somebody_holds_the_lock(place):
    """The end waits for the lock as long as a request does, and those who ask are hung up on."""
    place.configure(lock_timeout="2s")
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
        command = [sys.executable, "-c", HOLD, f"{place.database}.lock"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
            holder.stdout.readline()
            connections = [server.connect() for _ in range(3)]
            for number, connection in enumerate(connections):
                connection.sendall(several(number * 1000, 600))
            time.sleep(0.3)
            began = time.monotonic()
            status = server.end()
            holder.kill()
            for connection in connections:
                with contextlib.suppress(ConnectionResetError):
                    assert replies(connection, 1) == b""
                connection.close()
            assert status == 0
            assert time.monotonic() - began < 10
        assert b"still locked after 2 s by process" in server.said


def test_sighup(place):
    """A hang-up, which some send to have settings read again, ends nothing."""
    for arguments in ((), ("--workers", "2")):
        with Server(place, *arguments) as server:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.2)
            assert server.ask(request()) == DEFERRED
            assert server.end() == 0


@pytest.mark.parametrize("read", [True, False], ids=["full", "closed"])
def test_standard_error_that_nobody_reads(place, read):
    """A pipe that is full, or has no reader any more, holds up no request."""
    reader, writer = os.pipe()
    path = str(place.directory / "socket")
    command = [SCRIPT, "--log", "stderr", "serve", "--listen", f"unix:{path}"]
    with Server(place) as server:  # makes the database
        assert server.ask(request()) == DEFERRED
        server.end()
    process = subprocess.Popen(command, env=place.environment, stderr=writer)
    os.close(writer)
    if not read:
        os.close(reader)
    server = Server.__new__(Server)
    server.path, server.process = path, process
    try:
        for number in range(6):
            assert server.ask(several(number * 500, 500), 500) == DEFERRED * 500
        if read:
            said = b""
            while readable(reader, seconds=0.2):
                said += os.read(reader, 65536)
            assert server.ask(request(sender="last@example.com")) == DEFERRED
            assert b"lines are missing here\n" in os.read(reader, 65536)
            assert said.count(b"\n") < 3000
            os.close(reader)
    finally:
        assert server.end() == 0


def hurried(place, **seconds):
    """Have the server's limits of time be these; the rules are the same."""
    place.environment_extra["PYTHONPATH"] = str(place.directory)
    lines = [f"s.{name} = {value}\n" for name, value in {"SWEEP_EVERY": 0.1, **seconds}.items()]
    text = "import greylist.serve.server as s\n" + "".join(lines)
    (place.directory / "sitecustomize.py").write_text(text)


def is_hung_up_on(connection, within=10):
    """Return whether the server hangs up on a connection, whose replies are left out."""
    connection.settimeout(within)
    try:
        while connection.recv(65536):
            pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    return True


def test_who_does_not_end_what_he_began(place):
    """Who asks nothing, or a byte at a time, or takes no reply, is hung up on; the idle stay."""
    hurried(place, REQUEST_TIME=2)
    gone = (BrokenPipeError, ConnectionResetError)
    with Server(place) as server, server.connect(timeout=60) as deaf:

        def ask_and_never_read():
            with pytest.raises(gone):
                deaf.sendall(several(0, 30_000))

        asking = ThreadPoolExecutor(1).submit(ask_and_never_read)
        silent, slow, idle, late = (server.connect() for _ in range(4))
        with silent, slow, idle, late:
            idle.sendall(several(1, 1))
            late.sendall(several(2, 1) + b"request=")
            assert replies(idle, 1) == replies(late, 1) == DEFERRED
            with contextlib.suppress(*gone):
                for byte in request()[:60]:
                    slow.sendall(bytes([byte]))
                    time.sleep(0.1)
            asking.result()
            assert all(is_hung_up_on(one) for one in (silent, slow, late))
            idle.sendall(several(3, 1))
            assert replies(idle, 1) == DEFERRED
        server.end()
        assert b"for 2 s no request was completed or no reply taken" in server.said


def test_the_idle_make_room(place):
    """When there is no room, connections that smtpd(8) would have closed itself make some."""
    hurried(place, IDLE_TIME=2)
    with Server(place, "--max-connections", "2") as server:
        idle = [server.connect() for _ in range(2)]
        for number, one in enumerate(idle):
            one.sendall(several(number, 1))
            assert replies(one, 1) == DEFERRED
        time.sleep(1)
        with server.connect() as newest:
            newest.settimeout(0.2)
            newest.sendall(several(9, 1))
            with pytest.raises(TimeoutError):
                newest.recv(1)
            newest.settimeout(10)
            assert replies(newest, 1) == DEFERRED
        for one in idle:
            one.close()


def test_workers_that_die_at_their_start(place):
    """Workers that cannot live are started once in a second, and the server can be ended."""
    place.environment_extra["PYTHONPATH"] = str(place.directory)
    (place.directory / "sitecustomize.py").write_text(
        "import greylist.serve.server as s\n"
        "def dies(*_, **__):\n    raise RuntimeError('no life')\n"
        "s.Server = dies\n"
    )
    with Server(place, "--workers", "2", listen=False) as server:
        server.end()
    path = f"unix:{place.directory}/socket"
    with Server(place, "--workers", "2", "--listen", path, listen=False) as server:
        time.sleep(4)
        assert server.end() == 0
        assert 1 <= server.said.count(b"starting another") <= 5
        assert b"RuntimeError('no life')" in server.said


def test_workers_end_with_their_parent(place):
    """When the first process is killed, the workers end, and another server can be started."""
    with Server(place, "--workers", "2") as server:
        assert server.ask(request()) == DEFERRED
        server.end(signal.SIGKILL)
        until(lambda: not listens(server.path))
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED


def test_metrics_that_are_abused(place):
    """Connections to the figures that say nothing, or too much, are few; mail goes on."""
    port = free_port()
    with Server(place, "--metrics", f"127.0.0.1:{port}") as server:
        server.ask(request())
        silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(40)]
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", port), 10) as late:
            assert late.recv(1) == b""
        descriptors = len(os.listdir(f"/proc/{server.process.pid}/fd"))
        assert descriptors < 50
        for one in silent:
            one.close()
        with socket.create_connection(("127.0.0.1", port), 10) as long:
            long.sendall(b"GET /" + b"x" * 20000)
            try:
                assert long.recv(1) == b""
            except ConnectionResetError:
                pass
        with socket.create_connection(("127.0.0.1", port), 10) as good:
            good.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert good.recv(99).startswith(b"HTTP/1.1 200 ")
        assert server.ask(request()) == DEFERRED


ACTIVATE = """
import os, socket, sys
kind, count, path, *command = sys.argv[1:]
for number in range(int(count)):
    listener = socket.socket(socket.AF_UNIX, getattr(socket, kind))
    listener.bind(f"{path}{number}")
    if kind == "SOCK_STREAM":
        listener.listen()
    os.dup2(listener.detach(), 3 + number)
for number in range(int(count)):
    os.set_inheritable(3 + number, True)
os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(os.getpid()))
os.execv(command[0], command)
"""


def activated(place, kind, count, **options):
    """Start a server as systemd does, with sockets of its own."""
    path = str(place.directory / "socket")
    command = [sys.executable, "-c", ACTIVATE, kind, str(count), path, SCRIPT, "serve"]
    return subprocess.Popen(command, env=place.environment, close_fds=False, **options)


def test_several_sockets_of_systemd(place):
    """All sockets that systemd hands over are served."""
    process = activated(place, "SOCK_STREAM", 2)
    try:
        for number in range(2):
            path = place.directory / f"socket{number}"
            end = time.monotonic() + 10
            while not path.exists() and time.monotonic() < end:
                time.sleep(0.02)
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(10)
                connection.connect(str(path))
                connection.sendall(several(number, 1))
                assert replies(connection, 1) == DEFERRED
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_socket_of_systemd_that_does_not_listen(place):
    """A datagram socket, or a connection, is none to be served: that is said."""
    process = activated(place, "SOCK_DGRAM", 1, stderr=subprocess.PIPE)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert b"descriptor 3 does not listen; mend it: have ListenStream= and Accept=no" in said


def refused(place, address, *arguments, status=1):
    """Return what a server says that cannot listen there."""
    command = [SCRIPT, "serve", "--listen", address, *arguments]
    result = subprocess.run(
        command, env=place.environment, capture_output=True, timeout=30, check=False
    )
    assert result.returncode == status
    return result.stderr.decode()


def test_what_may_stand_at_the_path_of_a_socket(place):
    """A link that leads nowhere, or a directory, is left alone, and the way out is said."""
    path = place.directory / "socket"
    path.symlink_to("nowhere")
    assert f"unix:{path} is not a socket; mend it: mv {path} {path}.old" in refused(
        place, f"unix:{path}"
    )
    assert path.is_symlink()
    path.unlink()
    path.mkdir()
    assert "is a directory: name a socket in it" in refused(place, f"unix:{path}")
    assert "is a directory: name a socket in it" in refused(place, f"unix:{path}/")
    assert "path too long" in refused(place, f"unix:{place.directory}/{'x' * 200}")
    assert "No such file" in refused(place, f"unix:{place.directory}/not/there")


def test_the_longest_path(place):
    """A path of 107 bytes, the most that there can be, is listened on."""
    directory = place.directory
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        place.directory = Path(short) / ("x" * (107 - len(short) - len("//socket")))
        place.directory.mkdir()
        assert len(f"{place.directory}/socket") == 107
        with Server(place) as server:
            assert server.ask(request()) == DEFERRED
    place.directory = directory


def test_ports_that_cannot_be(place):
    """No port is left for a worker's figures, or one is taken, or the port is none: it is said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        address = f"inet:127.0.0.1:{port}"
        assert f"{address}: in use" in refused(place, address)
        listen = f"unix:{place.directory}/socket"
        figures = ("--metrics", f"127.0.0.1:{port}")
        assert "Address already in use" in refused(place, listen, *figures)
    figures = ("--workers", "2", "--metrics", "127.0.0.1:65535")
    assert "no port is left for each worker" in refused(place, listen, *figures)
    assert "'inet:127.0.0.1:0' is no address" in refused(place, "inet:127.0.0.1:0", status=2)


def test_servers_that_start_together(place):
    """Of several that find a dead server's socket at once, one listens and the others are told."""
    path = str(place.directory / "socket")
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(path)
    dead.close()
    command = [SCRIPT, "--log", "stderr", "serve", "--listen", f"unix:{path}"]
    started = [
        subprocess.Popen(command, env=place.environment, stderr=subprocess.PIPE) for _ in range(4)
    ]
    end = time.monotonic() + 30
    while sum(one.poll() is None for one in started) > 1 and time.monotonic() < end:
        time.sleep(0.05)
    alive = [one for one in started if one.poll() is None]
    assert len(alive) == 1
    server = Server.__new__(Server)
    server.path, server.process = path, alive[0]
    assert server.ask(request()) == DEFERRED
    alive[0].terminate()
    for one in started:
        _, said = one.communicate(timeout=20)
        assert one in alive or b"is in use" in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_uvloop(place, uvloop, workers):
    """Where uvloop is installed it is used, and all goes as without it."""
    place.environment_extra["PYTHONPATH"] = uvloop
    with Server(place, "--workers", workers) as server:
        assert server.ask(several(0, 700), 700) == DEFERRED * 700
        pid = server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert "uvloop" in Path(f"/proc/{(children or [pid])[0]}/maps").read_text()
        with server.connect() as bad, server.connect() as half:
            bad.sendall(request() + b"request=nonsense\n\n" + request())
            assert replies(bad, 2) == DEFERRED
            half.sendall(request())
            half.shutdown(socket.SHUT_WR)
            assert replies(half, 2) == DEFERRED
        assert server.end() == 0
        assert b"unrecognized request type: 'nonsense'" in server.said
        assert b"Exception" not in server.said


@pytest.fixture(scope="module")
def uvloop(tmp_path_factory):
    """Return a directory with uvloop, which the environment of the tests does not have."""
    target = str(tmp_path_factory.mktemp("uvloop"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--target", target, "uvloop"], check=True)
    return target


@pytest.mark.root
def test_root_that_remains_root_is_warned(place):
    """A server that acts as root, as the database's directory is root's, says so and goes on."""
    assert can_be_root()
    as_root("chown", "root", place.data)
    with Server(place) as server:
        assert server.ask(request()) == DEFERRED
        server.end()
        assert b"warning: acting as root" in server.said
