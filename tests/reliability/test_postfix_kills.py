"""A real Postfix whose filters are killed all the time."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from postfix_harness import Postfix, unavailable

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
]

SESSIONS = int(os.environ.get("GREYLIST_SESSIONS", "100"))
"""500 in the long run of docs/reliability.md."""


def test_filters_killed_every_50_ms():
    """Every session ends in a normal reply, none in Postfix's 451 4.3.5; then all is as before."""
    codes: Counter[int] = Counter()
    done = threading.Event()
    kills = [0]

    def kill(postfix: Postfix) -> None:
        while not done.wait(0.05):
            for pid in postfix.filters():
                postfix.kill(pid, signal.SIGKILL)
                kills[0] += 1

    with Postfix(delay="300s") as postfix:
        killer = threading.Thread(target=kill, args=(postfix,))
        killer.start()

        def session(number: int) -> int:
            client = f"192.0.2.{number % 200 + 1}"
            return postfix.attempt(client, f"s{number}@example.com", "you@example.org")

        try:
            with ThreadPoolExecutor(10) as pool:
                codes.update(pool.map(session, range(SESSIONS)))
        finally:
            done.set()
            killer.join()
        assert set(codes) <= {450, 250}, codes
        assert kills[0] > 0
        # On a busy machine no filter may have lived long enough to answer, but the next one does.
        assert postfix.attempt("192.0.2.201", "late@example.com", "you@example.org") == 450
        print(f"{SESSIONS} sessions, {kills[0]} kills, {dict(codes)}")
