"""The mark that a check or a salvage is due: the file ``DATABASE.due``.

due :== "check" or "salvage" " " the time of the mark, in nanoseconds since the epoch

The file's time of change is the earliest for the next start.
"""

from __future__ import annotations

import os
import time

from greylist.store.berkeley.environment import read_head, write_whole

CHECK, SALVAGE = "check", "salvage"

CHECK_INTERVAL = 600
"""Seconds between two checks, however often the database is recovered."""

POSTPONED = 60
"""Seconds until the next start of a repair that could not go on."""

TIME_SIZE = 20
"""Bytes of the time of the last check at most."""


def due_path(path: str) -> str:
    """Return the file of a database's mark."""
    return path + ".due"


def repair_path(path: str) -> str:
    """Return the file that a repair locks, with the time of the last check."""
    return path + ".repair"


def mark(path: str, task: str) -> None:
    """Note on the disk that a check, which includes a salvage, or a salvage alone is due.

    Raises:
        OSError: it cannot be written.
    """
    if task == SALVAGE and read(path)[0] == CHECK:
        task = CHECK
    write_whole(due_path(path), f"{task} {time.time_ns()}".encode())


def read(path: str) -> tuple[str, bytes]:
    """Return the task that is due, empty for none, and the mark, which differs each time."""
    try:
        text = read_head(due_path(path), 64)[0]
    except OSError:
        return "", b""
    return (CHECK if text.startswith(CHECK.encode()) else SALVAGE), text


def is_now(path: str) -> bool:
    """Return whether something is due, and has not just been postponed."""
    try:
        earliest = os.stat(due_path(path)).st_mtime
    except OSError:
        return False
    return not 0 < earliest - time.time() <= POSTPONED


def postpone(path: str) -> None:
    """Leave the task to a later start."""
    later = time.time() + POSTPONED
    try:
        os.utime(due_path(path), (later, later))
    except OSError:
        pass


def clear(path: str, text: bytes) -> None:
    """Take a mark away, unless another one was made since it was read."""
    if read(path)[1] == text:
        os.unlink(due_path(path))


def forget_check(path: str) -> None:
    """Make the next check not wait: the last one was of another database."""
    if checked_lately(path):
        os.truncate(repair_path(path), 0)


def checked_lately(path: str) -> bool:
    """Return whether a check has ended within CHECK_INTERVAL."""
    try:
        text = read_head(repair_path(path), TIME_SIZE + 1)[0]
    except OSError:
        return False
    return abs(time.time() - (time_in(text) or 0)) < CHECK_INTERVAL


def time_in(text: bytes) -> int | None:
    """Return the time that a check has left in its file, 0 for none yet; None if it is not ours.

    After a power cut there may be zeros instead.
    """
    digits = text.strip(b"\0\n")
    if len(text) > TIME_SIZE or (digits and not digits.isdigit()):
        return None
    return int(digits or b"0")
