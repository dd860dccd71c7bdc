"""End to end: SMTP clients, a real Postfix, and one server for all of its connections."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from postfix_harness import Postfix, free_port, unavailable
from readable import as_root

from tests.waiting import until

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
]

DELAY = 300

KEEPER = r"""
import os, signal, socket, subprocess, sys
path, port, *command = sys.argv[1:]
unix = socket.socket(socket.AF_UNIX)
unix.bind(path)
os.chmod(path, 0o666)
unix.listen(1024)
inet = socket.create_server(("127.0.0.1", int(port)), backlog=1024)
for number, one in ((3, unix), (4, inet)):
    os.dup2(one.fileno(), number + 10)

def prepare():
    for number in (3, 4):
        os.dup2(number + 10, number)
    os.environ.update(LISTEN_FDS="2", LISTEN_PID=str(os.getpid()))

def start():
    return subprocess.Popen(command, preexec_fn=prepare, close_fds=False, cwd="/")

process = start()
print(flush=True)
for line in sys.stdin:
    process.send_signal(int(line))
    process.wait()
    process = start()
    print(flush=True)
process.terminate()
sys.exit(process.wait())
"""
"""Holds the sockets as systemd does; a line with a signal's number has the server restarted."""


def command_of(postfix, *keeper):
    """Return the command by which root starts a server, or a keeper that starts it."""
    command = [] if os.geteuid() == 0 else ["sudo", "-n"]
    command += ["env", f"GREYLIST_CONFIG={postfix.directory}/greylist.cf"]
    command += [f"LD_LIBRARY_PATH={postfix.directory}/python/lib", *keeper]
    return list(map(str, [*command, postfix.bin / "greylist", "--log", log_of(postfix), "serve"]))


@contextmanager
def served(postfix, port):
    """Run a server, started by root, at a unix socket and a port; yield what restarts it."""
    path = postfix.directory / "queue/private/served"
    keeper = subprocess.Popen(
        command_of(postfix, postfix.bin / "python", "-c", KEEPER, path, port),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    def restart(number: int) -> None:
        keeper.stdin.write(b"%d\n" % number)
        keeper.stdin.flush()
        assert keeper.stdout.readline() == b"\n"

    assert keeper.stdout.readline() == b"\n"
    try:
        yield restart
    finally:
        keeper.stdin.close()
        assert keeper.wait(30) == 0
        keeper.stdout.close()


def log_of(postfix):
    """Return where the server logs."""
    return postfix.directory / "data" / "served.log"


@pytest.fixture(scope="module")
def running():
    """Run a Postfix that asks a server by a unix socket and by TCP; yield what restarts it."""
    port = free_port()
    ask = f"check_policy_service unix:private/served, check_policy_service inet:127.0.0.1:{port}"
    main = {
        "smtpd_recipient_restrictions": f"reject_unauth_destination, {ask}",
        "smtpd_hard_error_limit": "100",
        "smtpd_soft_error_limit": "100",
    }
    with Postfix(main, delay=f"{DELAY}s") as postfix, served(postfix, port) as restart:
        yield postfix, restart


def test_a_session_with_thirty_recipients(running):
    """Each recipient waits, and passes after the delay; no filter is spawned."""
    postfix, _ = running
    for code in (450, 250):
        with postfix.client("192.0.2.1", "mail.example.com") as smtp:
            smtp.mail("many@example.com")
            codes = [smtp.rcpt(f"{number}@example.org")[0] for number in range(30)]
            assert codes == [code] * 30
        postfix.age(DELAY)
    assert postfix.filters() == []
    assert [line for line in postfix.warnings() if "overriding earlier entry" not in line] == []
    asked = as_root("cat", log_of(postfix)).stdout
    assert asked.count("action=greylist") == asked.count("action=pass") == 2 * 30


def test_restarts_under_traffic(running):
    """A server that ends, or is killed, and started again, costs a retry and no mail."""
    postfix, restart = running
    codes = codes_while(postfix, restart)
    assert set(codes) == {450}, (codes, postfix.warnings())


def test_restarts_with_a_socket_of_its_own():
    """The same where the socket goes with the server: it is refused, or absent, for a moment."""
    main = {
        "smtpd_recipient_restrictions": "reject_unauth_destination, "
        "check_policy_service unix:private/served",
        # However long a start takes on this machine.
        "smtpd_policy_service_try_limit": "60",
    }
    with Postfix(main) as postfix:
        path = postfix.directory / "queue/private/served"
        command = [*command_of(postfix), "--listen", f"unix:{path}"]

        def start() -> subprocess.Popen:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL)

        def restart(number: int) -> None:
            nonlocal process
            as_root("kill", f"-{number}", started(process))
            assert process.wait(30) in {0, -number, 128 + number}
            if number == 9:
                # What is left of its socket refuses whoever asks before the next one listens.
                met = refusals()
                until(lambda: refusals() > met, show=postfix.warnings)
            process = start()

        def refusals() -> int:
            return sum("problem talking to" in one for one in postfix.warnings())

        process = start()
        try:
            codes = codes_while(postfix, restart)
        finally:
            as_root("kill", "-15", started(process))
            assert process.wait(30) == 0
        assert set(codes) == {450}, (codes, postfix.warnings())


def started(process) -> str:
    """Return the server's process: the one that was started, or that of sudo's child."""
    if os.geteuid() == 0:
        return str(process.pid)
    command = ["ps", "--ppid", str(process.pid), "-o", "pid="]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def codes_while(postfix, restart) -> Counter[int]:
    """Return Postfix's answers to new senders, while the server is restarted four times."""
    done = threading.Event()
    codes: Counter[int] = Counter()

    def client(number: int) -> None:
        count = 0
        while not done.is_set():
            count += 1
            address = f"203.0.113.{number + 1}"
            codes[postfix.attempt(address, f"s{count}@example.com", "you@example.org")] += 1

    with ThreadPoolExecutor(4) as pool:
        clients = [pool.submit(client, number) for number in range(4)]
        try:
            for number in (15, 9, 15, 9):
                time.sleep(0.7)
                restart(number)
            time.sleep(1)
        finally:
            done.set()
        for one in clients:
            one.result()
    assert codes[450] > 20
    return codes
