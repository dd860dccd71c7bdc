"""What a warm request costs in system calls, counted with strace on a real filter.

No time is measured here: a machine may be slow, but a call more is a call more anywhere.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter

import pytest
from conftest import SCRIPT, request

WARM = 20
"""Requests that are counted."""

MOST = {
    "read": 1,  # the request
    # Have the settings or the whitelist changed? And once a second: is the lock file still there?
    "newfstatat": 2 + 2 / WARM,
    "flock": 2,
    "alarm": 2,  # the watchdog, on and off
    "pwrite64": 1,  # libdb's log
    "write": 1,  # the reply
    # The log line; where no daemon listens, syslog(3) looks for one each time.
    "getpid": 1,
    "socket": 1,
    "connect": 1,
    "sendto": 1,
    "close": 1,
    "brk": 2 / WARM,  # wherever the heap's end was, it moves once for the buffers, and back
}


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_a_warm_request_makes_no_more_system_calls_than_these(place):
    """A known triplet costs a read, a write, and what the lock, the record and the log need."""
    trace = place.directory / "trace"
    filter = subprocess.Popen(
        ["strace", "-qq", "-e", "signal=none", "-o", trace, SCRIPT],
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    with filter:
        for _ in range(2 + WARM):
            filter.stdin.write(request())
            assert filter.stdout.readline().startswith(b"action=")
            assert filter.stdout.readline() == b"\n"
        filter.stdin.close()
    calls = re.findall(r"^(\w+)\((.*)", trace.read_text(), re.MULTILINE)
    replies = [i for i, (name, rest) in enumerate(calls) if rest.startswith('1, "action=')]
    assert len(replies) == 2 + WARM
    counted = Counter(name for name, _ in calls[replies[1] : replies[-1]])
    assert not {
        name: count / WARM for name, count in counted.items() if count > MOST.get(name, 0) * WARM
    }
