"""What the reliability tests share: a place for a database, and filters that may die."""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

from greylist.store.berkeley.permissions import lock_path
from greylist.store.berkeley.purge import RECORD as PURGE
from greylist.store.berkeley.quarantine import copies
from greylist.store.berkeley.rebuild import prepare
from greylist.store.berkeley.record import SIZE, Record
from tests.berkeley import RULES, open_store
from tests.heard import Heard
from tests.settled import write

if TYPE_CHECKING:
    from pathlib import Path

    from greylist.log import Log
    from greylist.store.berkeley.store import BerkeleyStore

VERIFY = "db5.3_verify"

MEMORY = "/dev/shm"

LONGEST = 90
"""Seconds within which everything is answered, checked and salvaged."""


def scratch() -> str | None:
    """Return a directory in memory, where no sync takes time; None: where temporary files are."""
    return MEMORY if os.access(MEMORY, os.W_OK) else None


class House:
    """A directory with a database and a settings file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir(mode=0o700, exist_ok=True)
        self.path = str(self.data / "greylist.db")
        self.config = directory / "greylist.cf"
        self.filters: list[FilterProcess] = []
        self._first: int | None = None
        self.configure()

    def configure(self, **settings) -> None:
        """Write the settings file: each request of a test has a key, and an entry, of its own."""
        settings = {
            "database": self.path,
            "whitelist": self.directory / "nogreylist",
            "ipv4_prefix": 32,
            "normalize_sender": "no",
            "auto_whitelist": 0,
            # A hundred thousand decisions are not for the machine's own mail log.
            "quiet": "yes",
            "syslog_facility": "local7",
            **settings,
        }
        write(self.config, "".join(f"{name} = {value}\n" for name, value in settings.items()))

    def store(self, timeout: float = 30, log: Log | None = None, **options) -> BerkeleyStore:
        """Return the store, opened by this process."""
        return open_store(self.path, timeout, log or Heard(), **options)

    def filter(self, prefix: tuple[str, ...] = (), **options) -> FilterProcess:
        """Start a filter."""
        process = FilterProcess(self, prefix, **options)
        self.filters.append(process)
        return process

    def close(self) -> None:
        """End the filters that still run."""
        for process in self.filters:
            process.kill()

    def record(self) -> Record:
        """Return what the lock file says."""
        with open(lock_path(self.path), "rb") as file:
            return Record.unpack(file.read(SIZE))

    def recoveries(self) -> int:
        """Return how often the environment was made anew since this was asked for first."""
        try:
            generation = self.record().generation
        except (FileNotFoundError, ValueError):
            return 0  # nobody has been here yet
        if self._first is None:
            self._first = generation
        return generation - self._first

    def copies(self) -> list[str]:
        """Return the databases that were set aside."""
        return copies(self.path)

    def wait_for_repair(self) -> None:
        """Wait until no repair process works."""
        with open(f"{self.path}.repair", "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)

    def wait_for_check(self) -> None:
        """Wait until a check has begun, which notes the time, and ended."""
        end = time.monotonic() + 30
        while not os.path.exists(f"{self.path}.repair") or not os.path.getsize(
            f"{self.path}.repair"
        ):
            assert time.monotonic() < end, "no check"
            time.sleep(0.02)
        self.wait_for_repair()

    def entries(self) -> dict[bytes, bytes]:
        """Return everything but the position of the purge, read as a filter would."""
        store = self.store()
        found: dict[bytes, bytes] = {}
        last = b""
        while batch := store.transact(lambda entries: entries.after(last, 1000)):  # noqa: B023
            found.update(batch)
            assert last < batch[-1][0], "the entries are out of order"
            last = batch[-1][0]
        store.close()
        found.pop(PURGE, None)
        return found

    def verify(self) -> None:
        """Recover, write everything out, and have libdb's own verification look at it.

        A repair process may be at work, so it is kept out, and told of the new environment.
        """
        with open(lock_path(self.path), "r+b", buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            prepare(self.path, durable=False, rules=RULES)
            record = self.record()
            record.generation += 1
            file.write(record.pack())
            command = [VERIFY, "-q", self.path]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr


def request(number: int, client: str = "192.0.2.1") -> bytes:
    return (
        f"request=smtpd_access_policy\nclient_address={client}\n"
        f"sender=s{number}@example.com\nrecipient=r@example.org\n\n"
    ).encode()


def key(number: int, client: str = "192.0.2.1") -> bytes:
    return f"{client}/s{number}@example.com/r@example.org".encode()


class FilterProcess:
    """A real filter, talked to over pipes as spawn(8) would."""

    def __init__(self, house: House, prefix: tuple[str, ...] = (), **options) -> None:
        options = {"stderr": subprocess.DEVNULL, **options}
        # A file, as a pipe that nobody reads would block the filter.
        self.log = tempfile.TemporaryFile() if options["stderr"] == "file" else None  # noqa: SIM115
        if self.log:
            options["stderr"] = self.log
        command = options.pop("command", [sys.executable, "-m", "greylist"])
        arguments = options.pop("arguments", [])
        self.process = subprocess.Popen(
            [*prefix, *command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "GREYLIST_CONFIG": str(house.config), **options.pop("env", {})},
            bufsize=0,
            start_new_session=True,
            **options,
        )
        self.pid = self.process.pid

    def ask(self, data: bytes, timeout: float = 90) -> bytes:
        """Return the reply, or nothing when the filter hung up without one.

        Raises:
            TimeoutError: neither came in time.
        """
        reply = b""
        try:
            os.write(self.process.stdin.fileno(), data)
            while not reply.endswith(b"\n\n"):
                poll = select.poll()
                poll.register(self.process.stdout, select.POLLIN | select.POLLHUP)
                if not poll.poll(timeout * 1000):
                    raise TimeoutError
                some = os.read(self.process.stdout.fileno(), 4096)
                if not some:
                    return b""
                reply += some
        except (BrokenPipeError, ConnectionResetError):
            return b""
        return reply

    def end(self, timeout: float = 90) -> int:
        """Close the connection; return the exit status."""
        self.process.stdin.close()
        try:
            return self.process.wait(timeout)
        finally:
            self.process.stdout.close()

    def errors(self) -> str:
        """Return what stands on standard error."""
        self.log.seek(0)
        with self.log:
            return self.log.read().decode()

    def kill(self) -> None:
        """Kill it, and close the pipes."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.log):
            if stream:
                stream.close()


def ask_until_answered(house: House, data: bytes, tries: int) -> tuple[bytes, int]:
    """Return the reply and the number of connections it took, as Postfix retries."""
    for attempt in range(1, tries + 1):
        process = house.filter()
        reply = process.ask(data)
        if reply:
            process.end()
            return reply, attempt
        process.kill()
    return b"", tries
