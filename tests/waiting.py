"""Waiting: for a condition, and for data of descriptors of any number, as select(2) knows 1,024."""

from __future__ import annotations

import selectors
import time


def until(condition, seconds=30, show=None):
    """Return when a condition holds; what ``show`` returns says why, if it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, show and show()
        time.sleep(0.02)


def readable(*files, seconds=None):
    """Return those of the files that can be read, after so many seconds at most."""
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]
