"""Waiting for data, whatever the numbers of the descriptors: select(2) knows 1,024 alone."""

from __future__ import annotations

import selectors


def readable(*files, seconds=None):
    """Return those of the files that can be read, after so many seconds at most."""
    with selectors.DefaultSelector() as selector:
        for file in files:
            selector.register(file, selectors.EVENT_READ)
        return [key.fileobj for key, _ in selector.select(seconds)]
