"""Attempts to deliver, and what the rules say to them one after the other; the clock is given."""

from __future__ import annotations

from memory import Memory

from greylist.policy import decide
from greylist.settings import Settings

NOW = 1_790_000_000
HOUR = 3600
DAY = 86400
UNKNOWN = b"unknown"


def settings(**values: str) -> Settings:
    """Return the defaults with these settings, each as its text."""
    found = Settings()
    for name, value in values.items():
        found.set(name, value)
    return found


def request(address=b"192.0.2.1", name=UNKNOWN, sender=b"a@example.com", **more):
    """Return an attempt's request; further attributes by name."""
    attributes = {
        b"client_address": address,
        b"client_name": name,
        b"sender": sender,
        b"recipient": b"b@example.org",
    }
    attributes.update({name.encode(): value for name, value in more.items()})
    return attributes


def verdicts(steps, entries=None, **values):
    """Return the reasons for attempts: (seconds, request) each."""
    entries = Memory() if entries is None else entries
    return [decide(what, entries, settings(**values), NOW + at).reason for at, what in steps]
