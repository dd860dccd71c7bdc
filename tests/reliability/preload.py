"""The library that is preloaded into real filters, and the faults that it can make."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

FAILING = ("write", "pwrite", "open", "truncate", "fallocate", "sync", "rename", "unlink", "mkdir")
"""The calls that can fail. fdatasync counts as sync, rmdir as unlink."""

CALLS = (*FAILING, "alarm", "import")
"""All that are counted, as preload.c numbers them. ``alarm`` cannot fail, but a process can be
killed there: the watchdog's stand between the marks in the record, which are no calls. "open" is
that of a file of the database's, "import" that of any other."""

ONCE, ON, EACH = "once", "on", "each"
"""Which calls fail: the N-th of all processes, that and all after it, the N-th of each process."""

_COUNTS = struct.Struct(f"={2 * len(CALLS) + 1}Q")


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    """Return a directory that is deleted when this process ends."""
    return tempfile.TemporaryDirectory(prefix="greylist-preload-")


@functools.cache
def library() -> str:
    """Return the path of the library: that which this process has, or one compiled for it."""
    if os.environ.get("LD_PRELOAD"):
        return os.environ["LD_PRELOAD"]
    target = Path(_directory().name) / "preload.so"
    source = Path(__file__).with_name("preload.c")
    command = ["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", target, source, "-ldl"]
    subprocess.run(command, check=True)
    return str(target)


class Fault(NamedTuple):
    """A kill instead of a call, or an error that the call returns.

    Attributes:
        call: one of CALLS.
        first: the number of the call, from 1 on; with 0, nothing happens.
        error: its name, such as ENOSPC; empty for a kill.
        scope: which calls fail.
    """

    call: str
    first: int
    error: str = ""
    scope: str = ONCE

    def __str__(self) -> str:
        return f"{self.call} {self.error or 'kill'} {self.scope} {self.first}"

    def begin(self, root: Path, counts: Path) -> None:
        """Have this fault in this process, which has the library, and in those forked from it.

        Args: as for ``environment``.
        """
        os.environ.update(self.environment(root, counts))
        path = os.environ.pop("LD_PRELOAD")  # programs that are started are left alone
        ctypes.CDLL(path).read_fault()

    def environment(self, root: Path, counts: Path) -> dict[str, str]:
        """Return the variables for a program that is to have this fault.

        Args:
            root: has the files whose opening is "open", not "import".
            counts: a new file, for ``Counts``.
        """
        counts.write_bytes(bytes(_COUNTS.size))
        return {
            "LD_PRELOAD": library(),
            "RECORD_ROOT": str(root),
            "FAULT_CALL": str(CALLS.index(self.call)),
            "FAULT_FIRST": str(self.first),
            "FAULT_ERROR": str(getattr(errno, self.error)) if self.error else "0",
            "FAULT_SCOPE": self.scope,
            "FAULT_COUNTS": str(counts),
        }


class Counts(NamedTuple):
    """What the programs with a fault have counted.

    Attributes:
        calls: of each of CALLS, by all processes.
        most: the same, by one process.
        failed: calls that the fault struck.
    """

    calls: dict[str, int]
    most: dict[str, int]
    failed: int

    @classmethod
    def read(cls, path: Path) -> Counts:
        """Return the counts in a file."""
        *counts, failed = _COUNTS.unpack(path.read_bytes())
        size = len(CALLS)
        calls = dict(zip(CALLS, counts[:size], strict=True))
        return cls(calls, dict(zip(CALLS, counts[size:], strict=True)), failed)
