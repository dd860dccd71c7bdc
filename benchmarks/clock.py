"""A clock of one's own for a contender: libfaketime, told the time through a file."""

from __future__ import annotations

import os
import subprocess

PACKAGE = "libfaketime"


class Clock:
    """The clock of all programs that are started with its environment. It stands still.

    Attributes:
        environment: what makes a program follow it.
    """

    def __init__(self, directory: str, now: int) -> None:
        """Args: directory: for its file; now: seconds since the epoch."""
        path = os.path.join(directory, "clock")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        self.set(now)
        self.environment = {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": path,
            "FAKETIME_FMT": "%s",
            "FAKETIME_NO_CACHE": "1",
            # Time-outs go on, and files have the times that they have.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
            "TZ": "UTC",
        }

    def set(self, now: int) -> None:
        """Set it, in seconds since the epoch; always as many digits, so that it is one write."""
        os.pwrite(self._file, b"%010d\n" % now, 0)

    def close(self) -> None:
        """Close its file."""
        os.close(self._file)


def _library() -> str:
    """Return the library's path, which has the machine's architecture in it."""
    files = subprocess.run(
        ["dpkg", "-L", PACKAGE], check=True, capture_output=True, text=True
    ).stdout.split()
    return next(file for file in files if file.endswith("/libfaketime.so.1"))
