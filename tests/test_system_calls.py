"""What a warm request costs in system calls, counted with strace on a real filter.

No time is measured here: a machine may be slow, but a call more is a call more anywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "greylist")

REQUEST = b"".join(
    name + b"\n"
    for name in (
        b"request=smtpd_access_policy",
        b"protocol_state=RCPT",
        b"client_address=192.0.2.1",
        b"client_name=mail.example.com",
        b"sender=sender@example.com",
        b"recipient=recipient@example.org",
        b"",
    )
)

WARM = 20
"""Requests that are counted."""

MOST = {
    "read": 1,  # the request
    "newfstatat": 1,  # has the whitelist changed?
    "flock": 2,
    "pread64": 1,  # the record: is the environment the one that we know?
    "pwrite64": 3,  # dirty, libdb's log, clean
    "setitimer": 2,  # the watchdog, on and off
    "write": 1,  # the reply
    # To the log: without a daemon, as here, syslog(3) looks for one each time.
    "getpid": 1,
    "socket": 1,
    "connect": 1,
    "sendto": 1,
    "close": 1,
}


@pytest.fixture
def configuration(tmp_path):
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "nogreylist").write_text("^203\\.0\\.113\\.\n")
    path = tmp_path / "greylist.cf"
    path.write_text(f"database = {tmp_path}/data/greylist.db\nwhitelist = {tmp_path}/nogreylist\n")
    return path


def ask(filter, count):
    for _ in range(count):
        filter.stdin.write(REQUEST)
        assert filter.stdout.readline().startswith(b"action=")
        assert filter.stdout.readline() == b"\n"


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.skipif(sys.platform != "linux", reason="the names are Linux's")
def test_a_warm_request_makes_no_more_system_calls_than_these(configuration, tmp_path):
    """A known triplet costs a read, a write, and what the lock, the record and the logs need."""
    trace = tmp_path / "trace"
    filter = subprocess.Popen(
        ["strace", "-qq", "-e", "signal=none", "-o", str(trace), SCRIPT],
        env={**os.environ, "GREYLIST_CONFIG": str(configuration)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with filter:
        ask(filter, 2 + WARM)
    calls = re.findall(r"^(\w+)\((.*)", trace.read_text(), re.MULTILINE)
    # Counted from the second reply to the last one; each time as many calls, or fewer.
    replies = [
        number
        for number, (name, rest) in enumerate(calls)
        if name == "write" and rest.startswith('1, "action=')
    ]
    assert len(replies) == 2 + WARM
    warm = Counter(name for name, _ in calls[replies[1] : replies[-1]])
    warm.pop("restart_syscall", None)
    too_many = {name: n / WARM for name, n in warm.items() if n > MOST.get(name, 0) * WARM}
    assert not too_many
