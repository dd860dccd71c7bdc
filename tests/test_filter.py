"""The filter as a process: descriptors, signals, and what goes wrong."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import pytest
from conftest import DEFERRED, PASSED, SCRIPT, request
from readable import as_root
from settled import write

from greylist.protocol import LINE_LIMIT


def test_serves_standard_input(place):
    """Piped in by hand, each request has its answer, in order, and the end is clean."""
    write(place.whitelist, b"^10\\.")
    filter = place.run(data=request() + request(client_address="10.0.0.1") + request())
    assert filter.stdout == DEFERRED + PASSED + DEFERRED
    assert (filter.returncode, filter.stderr) == (0, b"")


def test_nothing_to_serve(place):
    """Nothing in, nothing out, and no database."""
    filter = place.run()
    assert (filter.returncode, filter.stdout, filter.stderr) == (0, b"", b"")
    assert list(place.data.iterdir()) == []


@pytest.mark.parametrize("size", [1, 7, 100])
def test_requests_in_pieces(place, size):
    """A request may come in any pieces, and is answered when it is complete."""
    data = request() * 2
    with place.start() as filter:
        for start in range(0, len(data), size):
            filter.stdin.write(data[start : start + size])
        filter.stdin.close()
        assert filter.stdout.read() == DEFERRED * 2
        assert filter.wait(10) == 0


def test_answers_before_the_next_request(place):
    """The answer does not wait for more input."""
    with place.start() as filter:
        for _ in range(3):
            filter.stdin.write(request())
            assert os.read(filter.stdout.fileno(), 4096) == DEFERRED
        filter.stdin.close()


def spawned(place, *arguments):
    """Return a filter that has a socket as its descriptors 0, 1 and 2, as under spawn(8)."""
    ours, theirs = socket.socketpair()
    with theirs:
        filter = place.start(*arguments, stdin=theirs, stdout=theirs, stderr=theirs)
    ours.settimeout(20)
    return filter, ours


def test_standard_error_is_off_the_wire(place):
    """Under spawn, where standard error is the socket too, trouble leaves no byte there."""
    place.configure(nonsense="1")
    filter, wire = spawned(place)
    with wire:
        assert wire.recv(4096) == b""
    assert filter.wait(10) == 1


@pytest.mark.parametrize("arguments", [["--dely", "1m"], ["--delay", "soon"], ["chek"]])
def test_wrong_options_leave_no_byte_on_the_wire(place, arguments):
    """A mistake in the options of master.cf is no reply either."""
    filter, wire = spawned(place, *arguments)
    with wire:
        assert wire.recv(4096) == b""
    assert filter.wait(10) == 2


def test_damage_leaves_no_byte_on_the_wire(place):
    """What libdb has to say about a damaged file does not reach the client."""
    place.run(data=request())
    place.database.write_bytes(os.urandom(40960))
    filter, wire = spawned(place)
    with wire:
        wire.sendall(request())
        assert wire.recv(4096) == DEFERRED
        wire.shutdown(socket.SHUT_WR)
        assert wire.recv(4096) == b""
    assert filter.wait(10) == 0


def test_closed_descriptors(place):
    """A descriptor that is closed at the start is not taken by the database's files."""
    command = f'"{SCRIPT}" 2>&-'
    filter = subprocess.run(
        ["sh", "-c", command],
        env=place.environment,
        input=request() + b"garbage\n" + request(),
        stdout=subprocess.PIPE,
        check=True,
    )
    assert filter.stdout == DEFERRED * 2
    assert b"garbage" not in (place.data / "greylist.db.lock").read_bytes()


def test_vanished_client(place):
    """A client that goes away before its answer is no trouble."""
    filter, wire = spawned(place)
    wire.sendall(request() * 100)
    wire.close()
    assert filter.wait(30) == 0


def test_broken_pipe(place):
    """Nobody reads the answers: a clean end."""
    with place.start() as filter:
        filter.stdout.close()
        filter.stdin.write(request() * 100)
        filter.stdin.close()
        assert filter.wait(10) == 0


def test_sigterm_while_waiting(place):
    """SIGTERM between two requests ends the filter cleanly."""
    with place.start() as filter:
        filter.stdin.write(request())
        assert os.read(filter.stdout.fileno(), 4096) == DEFERRED
        filter.send_signal(signal.SIGTERM)
        assert filter.wait(10) == 0
    assert b"dirty=0" in (place.data / "greylist.db.lock").read_bytes()


def test_sigterm_under_load(place):
    """SIGTERM at any other moment lets the request in hand have its answer first."""
    for _ in range(10):
        with place.start() as filter:
            filter.stdin.write(request() * 100)
            answers = os.read(filter.stdout.fileno(), 100)
            filter.send_signal(signal.SIGTERM)
            answers += filter.stdout.read()
            assert filter.wait(10) == 0
        assert answers == DEFERRED * (len(answers) // len(DEFERRED))
        assert b"dirty=0" in (place.data / "greylist.db.lock").read_bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"a" * (LINE_LIMIT + 1), "line of more than 65536 bytes"),
        (b"a=1\n" * 1001, "request of more than 1000 lines"),
        (b"request=other\n\n", "unrecognized request type: 'other'"),
        (b"request=%s\n\n" % (b"x" * 600), f"unrecognized request type: '{'x' * 100}'"),
    ],
)
def test_broken_client(place, data, reason):
    """A client that breaks the protocol is hung up on after its good requests' answers."""
    filter = place.run("--log", "stderr", data=request() + data)
    assert filter.stdout == DEFERRED
    assert filter.returncode == 1
    assert filter.stderr.decode().splitlines()[-1] == f"greylist: fatal: {reason}"


def fatal(place, data=None):
    """Return the one line that a filter leaves which can't serve this request."""
    filter = place.run("--log", "stderr", data=request() if data is None else data)
    assert (filter.returncode, filter.stdout) == (1, b"")
    lines = filter.stderr.decode().splitlines()
    assert len(lines) == 1, lines
    [line] = lines
    return line.removeprefix("greylist: fatal: ")


def user():
    return subprocess.run(["id", "-un"], capture_output=True, check=True).stdout.decode().strip()


def test_no_directory(place):
    """A missing directory is named with the command that makes it, which then does."""
    place.data.rmdir()
    line = fatal(place)
    remedy = f"install -d -o {user()} -m 0700 {place.data}"
    assert line == f"{place.data} does not exist; mend it: {remedy}"
    subprocess.run(remedy.split(), check=True)
    assert place.run(data=request()).stdout == DEFERRED


def test_world_writable_directory(place):
    """In a world-writable directory anybody could plant a database; the remedy mends it."""
    place.data.chmod(0o777)
    line = fatal(place)
    remedy = f"chmod 0700 {place.data}"
    assert line == f"{place.data} is world-writable; mend it: {remedy}"
    subprocess.run(remedy.split(), check=True)
    assert place.run(data=request()).stdout == DEFERRED


def test_file_in_place_of_the_directory(place):
    """A directory that is a file is said to be none."""
    place.data.rmdir()
    place.data.write_bytes(b"")
    assert fatal(place) == f"{place.data} is not a directory"


@pytest.mark.parametrize("name", ["greylist.db", "greylist.db.lock"])
@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "device"])
def test_not_a_regular_file(place, name, kind):
    """A link, FIFO, directory or device where a file of ours should be is refused, at once."""
    path = place.data / name
    if kind == "link":
        path.symlink_to(place.directory / "elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        try:
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        except PermissionError:
            path.symlink_to("/dev/null")
    line = fatal(place)
    assert line.startswith(f"{path} is ")
    assert line.endswith("; mend it: have database = name another file")
    subprocess.run(["mv", path, f"{path}.old"], check=True)
    assert place.run(data=request()).stdout == DEFERRED


def test_another_user_s_file(place):
    """A file that belongs to somebody else is refused, with the command that mends it."""
    place.run(data=request())
    as_root("chown", "nobody", place.database)
    remedy = f"chown {user()} {place.database}"
    line = f"{place.database} belongs to nobody, not to {user()}; mend it: {remedy}"
    assert fatal(place) == line
    as_root(*remedy.split())
    assert place.run(data=request()).stdout == DEFERRED


def test_bad_settings(place):
    """A wrong line in the settings is named with file and line, and nothing is answered."""
    place.config.write_text("# comment\ndelay = soon\n")
    filter = place.start(stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    with filter:
        assert filter.wait(10) == 1
        assert filter.stdout.read() == b""
    filter = place.run("--log", "stderr")
    assert filter.returncode == 2
    assert f"{place.config}:2: delay: bad time 'soon'" in filter.stderr.decode()


@pytest.mark.root
def test_root_acts_as_the_owner(place):
    """Root by hand leaves nothing behind that the filter's user could not open."""
    for path in (place.directory, *place.directory.parents):
        path.chmod(path.stat().st_mode | 0o001)
    shutil.chown(place.data, "nobody")
    assert place.run(data=request()).stdout == DEFERRED
    owners = [path.owner() for path in place.data.rglob("*")]
    assert set(owners) == {"nobody"}
    assert len(owners) > 5


class Terminal:
    """A terminal with a filter on it."""

    def __init__(self, place, *arguments):
        pid, self.fd = pty.fork()
        if pid == 0:
            os.chdir(place.directory)
            # A suite in the background of a shell has it ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.execvpe(SCRIPT, [SCRIPT, *arguments], {**place.environment, "TERM": "dumb"})
        self.pid = pid

    def read_until(self, text):
        seen = b""
        while text not in seen:
            seen += os.read(self.fd, 4096)
        return seen

    def write(self, data):
        os.write(self.fd, data)

    def wait(self):
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status)


def test_on_a_terminal(place):
    """On a terminal it says in one line what to type; Control-D ends it."""
    terminal = Terminal(place)
    hint = terminal.read_until(b"\n")
    assert hint.startswith(b"greylist: type a request as name=value lines, then an empty line")
    terminal.write(request())
    terminal.read_until(DEFERRED.replace(b"\n", b"\r\n"))
    terminal.write(b"\x04")
    assert terminal.wait() == 0


def test_trouble_on_a_terminal(place):
    """On a terminal trouble is told on standard error as well."""
    place.data.rmdir()
    terminal = Terminal(place)
    terminal.read_until(b"Control-D ends")
    terminal.write(request())
    seen = terminal.read_until(b"mend it: install -d")
    assert b"greylist: fatal: " in seen
    terminal.write(b"\x04")
    assert terminal.wait() == 1


def test_interrupt_on_a_terminal(place):
    """Control-C ends it without a traceback."""
    terminal = Terminal(place)
    terminal.read_until(b"Control-D ends")
    time.sleep(0.05)
    terminal.write(b"\x03")
    assert terminal.wait() == 130


def test_locked_database(place):
    """A filter that cannot have the lock in time says who holds it, and does not answer."""
    place.configure(lock_timeout="1s")
    place.run(data=request())
    program = (
        "import fcntl, os, sys\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX)\n"
        "print(flush=True)\n"
        "sys.stdin.read()\n"
    )
    lock = str(place.database) + ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", program, lock], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        holder.stdout.readline()
        line = fatal(place)
        assert line.startswith(f"{lock}: still locked after 1 s by process {holder.pid} (")
        holder.stdin.close()
    assert place.run(data=request()).stdout == DEFERRED
