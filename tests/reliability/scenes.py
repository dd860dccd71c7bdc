"""What filters are recorded at for the power cuts: creation, updates, checkpoints and so on."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bsddb3 import db

from greylist.store.berkeley import due
from greylist.store.berkeley.environment import CACHE_REGION, home
from greylist.store.berkeley.permissions import lock_path
from tests.reliability.corruption import mark_dirty
from tests.reliability.disk import Recording
from tests.reliability.harness import LONGEST, House, key, request
from tests.reliability.preload import library

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.reliability.harness import FilterProcess

BASE = 300
"""Entries that are there before the recording begins."""

T = TypeVar("T")

SMALL_LOGS = """
from tests.reliability.storm import small_logs
small_logs()
from greylist import filter
filter.main()
"""


class Stage:
    """A house whose filters are recorded."""

    def __init__(self, directory: Path, durable: bool) -> None:
        self.house = House(directory)
        self.house.configure(delay=0, auto_whitelist_senders=0, durable="yes" if durable else "no")
        self.log = directory / "calls"
        self.small = False
        self.answers: list[tuple[int, bytes, bool]] = []
        self.shown: list[tuple[int, int, bytes]] = []
        self.count = 0

    def begin(self) -> None:
        """Take what is there as the base, and record from here on."""
        self.recording = Recording(self.house.data)
        for number in range(BASE if os.path.exists(self.house.path) else 0):
            self.answers.append((0, key(number), True))

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a program is recorded."""
        return {
            "LD_PRELOAD": library(),
            "RECORD_LOG": str(self.log),
            "RECORD_ROOT": str(self.house.data),
        }

    def program(self, *arguments: str) -> subprocess.Popen:
        """Start a command that is recorded."""
        command = [sys.executable, "-m", "greylist", "--config", self.house.config, *arguments]
        environment = {**os.environ, **self.environment}
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)

    def filter(self) -> FilterProcess:
        """Start a filter that is recorded."""
        command = {"command": [sys.executable, "-c", SMALL_LOGS]} if self.small else {}
        return self.house.filter(env=self.environment, **command)

    def ask(self, process: FilterProcess, number: int, again: bool = False) -> None:
        """Ask a filter, and note its answer."""
        self.show()
        assert process.ask(request(number)), "no answer while recording"
        self.note(number, again=again)

    def note(self, number: int, again: bool = False) -> None:
        """Note that a request has been answered."""
        self.answers.append((self._position(), key(number), again))

    def _position(self) -> int:
        return self.log.stat().st_size if self.log.exists() else 0

    def show(self) -> None:
        """Keep what stands in shared memory: the record, and now and then the cache."""
        self.count += 1
        files = [lock_path(self.house.path)]
        if self.count % 16 == 0:
            files.append(os.path.join(home(self.house.path), CACHE_REGION))
        for file in files:
            if os.path.exists(file):
                inode, data = os.stat(file).st_ino, Path(file).read_bytes()
                self.shown.append((self._position(), inode, zlib.compress(data, 1)))

    def end(self) -> Recording:
        """End the filters, and return what was recorded."""
        wait_for_repairs(self.house)
        self.show()
        self.house.close()
        recording = self.recording
        recording.read(self.log)
        for position, inode, data in self.shown:
            found = recording.shown.setdefault(inode, [])
            found.append((recording.call_at(position), data))
        recording.answers = [
            (recording.call_at(position), entry, again) for position, entry, again in self.answers
        ]
        return recording


def wait_for_repairs(house: House) -> None:
    """Wait until nothing is due any more."""
    end = time.monotonic() + LONGEST
    while due.read(house.path)[0]:
        assert time.monotonic() < end, "a repair does not end"
        time.sleep(0.005)


def in_child(function: Callable[[], T]) -> T:
    """Return what the function returns in a process of its own, which libdb may litter."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            result: Any = function()
        except BaseException as error:
            result = error if isinstance(error, AssertionError) else AssertionError(repr(error))
        with open(writer, "wb") as pipe:
            pickle.dump(result, pipe)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    result = pickle.loads(data) if data else AssertionError("a reader died")
    if isinstance(result, AssertionError):
        raise result
    return result


def fill(house: House) -> None:
    """Store what is there from the beginning, and see that it is on the disk."""
    now = int(time.time()) - 1000

    def store() -> None:
        store = house.store()
        for first in range(0, BASE, 50):

            def update(entries, first=first) -> None:
                for number in range(first, first + 50):
                    entries.put(key(number), b"%d/%d/1" % (now, now + 600), 0)

            store.transact(update)
        store.flush()
        store.close()

    in_child(store)


def creation(stage: Stage) -> None:
    """Begin with nothing; the first requests come."""
    stage.begin()
    process = stage.filter()
    for number in range(1000, 1008):
        stage.ask(process, number)


def updates(stage: Stage) -> None:
    """Have three filters store new entries and second attempts."""
    fill(stage.house)
    stage.begin()
    processes = [stage.filter() for _ in range(3)]
    for number in range(1000, 1060):
        stage.ask(processes[number % 3], number)
        if number % 2:
            stage.ask(processes[number % 2], number - 1, again=True)


def checkpoint(stage: Stage) -> None:
    """Write a MiB of log, and a checkpoint in the end."""
    fill(stage.house)
    stage.begin()
    process = stage.filter()
    for number in range(1000, 2600):
        stage.ask(process, number)
        if number % 2:
            stage.ask(process, number - 1, again=True)


def rotation(stage: Stage) -> None:
    """Have logs of 64 KiB, which come and go."""
    fill(stage.house)
    stage.small = True
    stage.begin()
    processes = [stage.filter() for _ in range(2)]
    for number in range(1000, 1400):
        stage.ask(processes[number % 2], number)
        if number % 2:
            stage.ask(processes[0], number - 1, again=True)


def purge(stage: Stage) -> None:
    """Have a command delete two thirds of the entries."""
    fill(stage.house)

    def add_stale() -> None:
        store = stage.house.store()

        def update(entries) -> None:
            for number in range(5000, 5600):
                entries.put(key(number), b"1600000000/0/0", 0)

        store.transact(update)
        store.flush()
        store.close()

    in_child(add_stale)
    stage.begin()
    process = stage.filter()
    stage.ask(process, 1000)
    assert stage.program("purge").wait() == 0
    for number in range(1001, 1020):
        stage.ask(process, number)


def recovery(stage: Stage) -> None:
    """Let filters die in mid-update, and others recover, under one that lives on."""
    fill(stage.house)
    stage.begin()
    alive = stage.filter()
    for number in range(1000, 1040):
        stage.ask(alive, number)
        if number % 10 == 5:
            mark_dirty(stage.house)
            other = stage.filter()
            stage.ask(other, number + 1000)
            stage.ask(other, number + 1000, again=True)
            other.kill()


def quarantine(stage: Stage) -> None:
    """Damage the database: it is set aside, a new one made, and the old one salvaged."""
    fill(stage.house)

    def late() -> None:
        store = stage.house.store()
        now = int(time.time())
        store.transact(lambda entries: entries.put(key(BASE), b"%d/0/0" % now, 0))

    in_child(late)  # which the log alone has
    with open(stage.house.path, "r+b") as file:
        file.seek(20)
        file.write(bytes(4))
    mark_dirty(stage.house)
    stage.begin()
    stage.answers.append((0, key(BASE), False))
    process = stage.filter()
    for number in range(1000, 1020):
        stage.ask(process, number)
    wait_for_repairs(stage.house)
    for number in range(1020, 1030):
        stage.ask(process, number)


def takeover(stage: Stage) -> None:
    """Take over a database of the original."""

    def original() -> None:
        database = db.DB()
        database.open(stage.house.path, dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o600)
        now = int(time.time()) - 1000
        for number in range(BASE):
            database.put(key(number), b"%d/%d/1" % (now, now + 600))
        database.close()

    in_child(original)
    stage.begin()
    process = stage.filter()
    for number in range(1000, 1020):
        stage.ask(process, number)
        stage.ask(process, number, again=True)


def serve(stage: Stage) -> None:
    """Answer eight connections from one server, whose requests are stored together."""
    fill(stage.house)
    stage.begin()
    path = str(stage.house.directory / "socket")
    server = stage.program("serve", "--listen", f"unix:{path}")
    connections = [_connect(path) for _ in range(8)]
    for first in range(1000, 1120, 8):
        stage.show()
        for again in (False, True):
            for number, connection in enumerate(connections, first):
                connection.sendall(request(number))
            for number, connection in enumerate(connections, first):
                assert connection.recv(4096).endswith(b"\n\n")
                stage.note(number, again=again)
    for connection in connections:
        connection.close()
    server.terminate()
    server.wait()


def _connect(path: str) -> socket.socket:
    end = time.monotonic() + LONGEST
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            assert time.monotonic() < end, "the server does not listen"
            time.sleep(0.02)
        else:
            return connection


SCENARIOS = {
    one.__name__: one
    for one in (
        creation, updates, checkpoint, rotation, purge, recovery, quarantine, takeover, serve
    )
}  # fmt: skip


def record(scenario: str, durable: bool, directory: Path) -> Recording:
    """Return the recording of a scenario."""
    directory.mkdir()
    stage = Stage(directory, durable)
    SCENARIOS[scenario](stage)
    return stage.end()
