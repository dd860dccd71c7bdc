"""The record at the start of the lock file: is the environment fit for use, and which one is it.

record :== "greylist 1" SP name "=" value ... LF, padded with spaces to SIZE bytes

A writer marks the record dirty before it touches the environment and clean when it is done,
so a process that takes the lock and finds it dirty knows that the last holder died inside.

A transaction reads the record once and writes it twice, in memory that all processes share:
that takes a tenth of what three system calls take. A signal can cut such a copy in two, so the
mark stands first and has a fixed width: of two records that differ in nothing else, any mixture
is one that says dirty or clean. Who changes more than the mark uses pwrite(2), which is whole.
"""

from __future__ import annotations

import mmap
import os
import time

SIZE = 256
"""Bytes of a record, written at once."""

BOOT_ID = "/proc/sys/kernel/random/boot_id"

_MAGIC = b"greylist 1"


class Record:
    """The record of the lock file.

    Attributes:
        generation: raised whenever the shared regions are made anew. A new record begins with a
            number that no other has had: its file may have been emptied or replaced.
        dirty: somebody is inside, or died there.
        pid: who that is.
        attempts: how often in a row the environment was recovered without a good transaction.
        recovered: the time of the last recovery that followed a death, in seconds since the epoch.
        boot: the boot identity of the kernel under which the regions were made, or "@" and the
            time of its boot, in seconds since the epoch.
        files: what tells the database and its environment from others in their place.
    """

    __slots__ = ("attempts", "boot", "dirty", "files", "generation", "pid", "recovered")

    def __init__(self) -> None:
        self.generation = time.time_ns()
        self.dirty = False
        self.pid = 0
        self.attempts = 0
        self.recovered = 0
        self.boot = b"-"
        self.files = b"-"

    def pack(self) -> bytes:
        """Return the bytes that stand in the file."""
        text = b"%s dirty=%d pid=%010d generation=%d attempts=%d recovered=%d boot=%s files=%s" % (
            _MAGIC,
            self.dirty,
            self.pid,
            self.generation,
            self.attempts,
            self.recovered,
            self.boot,
            self.files,
        )
        return text.ljust(SIZE - 1) + b"\n"

    @classmethod
    def unpack(cls, data: bytes) -> Record:
        """Return the record that these bytes stand for.

        Raises:
            ValueError: they are no record.
        """
        record = cls()
        if len(data) != SIZE or not data.startswith(_MAGIC + b" "):
            raise ValueError("no record")
        fields = dict(field.split(b"=") for field in data[len(_MAGIC) :].split())
        try:
            record.generation = int(fields[b"generation"])
            record.dirty = fields[b"dirty"] != b"0"
            record.pid = int(fields[b"pid"])
            record.attempts = int(fields[b"attempts"])
            record.recovered = int(fields[b"recovered"])
            record.boot = fields[b"boot"]
            record.files = fields[b"files"]
        except KeyError as error:
            raise ValueError("no record") from error
        if len(record.pack()) != SIZE:
            raise ValueError("no record")
        return record


def share(descriptor: int) -> mmap.mmap:
    """Return the record of a lock file as memory that all processes share.

    Raises:
        OSError: the file is too short, and the disk has no room for more.
    """
    if os.fstat(descriptor).st_size < SIZE:
        os.posix_fallocate(descriptor, 0, SIZE)
    return mmap.mmap(descriptor, SIZE)


def boot_identity() -> bytes:
    """Return the identity of this boot of the kernel, or its time.

    The time of the boot changes when the clock is set; see ``same_boot``.
    """
    try:
        with open(BOOT_ID, "rb", buffering=0) as file:
            found = file.read(64).strip()
    except OSError:
        found = b""
    if found:
        return found
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return b"@%d" % (time.clock_gettime(time.CLOCK_REALTIME) - since_boot)


def same_boot(one: bytes, other: bytes) -> bool:
    """Return whether two boot identities are of one boot; times are so by a second or two."""
    if one[:1] == other[:1] == b"@" and one[1:].isdigit() and other[1:].isdigit():
        return abs(int(one[1:]) - int(other[1:])) <= 2
    return one == other
