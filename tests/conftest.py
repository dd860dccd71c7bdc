"""What the tests share: the installed program, a place for its files, a syslog to read."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from berkeley import open_store
from readable import as_root, can_be_root
from responder_site import Site
from settled import write

from greylist import client, public_suffix, recipient, watched_file
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from greylist.store.berkeley.store import BerkeleyStore

# For "make mutants": the same examples every time, and the first that fails is enough.
hypothesis.settings.register_profile(
    "mutants",
    deadline=None,
    derandomize=True,
    database=None,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)

SCRIPT = str(Path(sysconfig.get_path("scripts")) / "greylist")


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is marked so in a pytest of root's, where this one is not."""
    if not pyfuncitem.get_closest_marker("root") or os.geteuid() == 0:
        return None
    if not can_be_root():
        pytest.skip("needs root, or sudo without a password")
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    result = as_root(*command, cwd=pyfuncitem.config.rootpath, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return True


class Place:
    """A directory with a settings file, a whitelist and a database, and the program in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir(mode=0o700)
        self.database = self.data / "greylist.db"
        self.whitelist = directory / "nogreylist"
        self.config = directory / "greylist.cf"
        self.environment_extra: dict[str, str] = {}
        self.configure()

    def configure(self, **settings: str) -> None:
        settings = {"database": self.database, "whitelist": self.whitelist, **settings}
        write(self.config, "".join(f"{name} = {value}\n" for name, value in settings.items()))

    @property
    def environment(self) -> dict[str, str]:
        base = {**os.environ, "GREYLIST_CONFIG": str(self.config), "PYTHONWARNINGS": "error"}
        return {**base, **self.environment_extra}

    def start(self, *arguments: str, **options) -> subprocess.Popen:
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **options}
        return subprocess.Popen(
            [SCRIPT, *arguments], env=self.environment, cwd=self.directory, bufsize=0, **options
        )

    def run(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess:
        return subprocess.run(
            [SCRIPT, *arguments],
            env=self.environment,
            cwd=self.directory,
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def store(self, timeout: float = 10) -> BerkeleyStore:
        return open_store(str(self.database), timeout)

    def entries(self) -> dict[bytes, bytes]:
        store = self.store()
        found = store.transact(lambda entries: entries.after(b"", 1_000_000))
        store.close()
        return {name: value for name, value in found if not name.startswith(b"/")}

    def age(self, seconds: int) -> None:
        """Make everything stored older, as if that many seconds had gone by."""
        store = self.store()

        def shift(entries):
            for key, value in entries.after(b"", 1_000_000):
                if key.startswith(b"/") and not key.startswith(b"/pool/"):
                    continue
                triplet = Triplet.unpack(value)
                triplet.ctime -= seconds
                triplet.atime -= seconds if triplet.atime else 0
                entries.put(key, triplet.pack(), 0)

        store.transact(shift)
        store.close()


@pytest.fixture
def site(tmp_path: Path, at_once: None) -> Site:
    found = Site(tmp_path)
    found.write()
    return found


@pytest.fixture(autouse=True)
def nothing_remembered() -> None:
    """Have each test find out all itself: what a process remembers would hide a fault from it."""
    for found in client._found, recipient._found, public_suffix._rules, public_suffix._index:
        found.clear()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an edit of a file count from the next look on, and every request take a look."""
    monkeypatch.setattr(watched_file, "LOOK_EVERY", 0)
    monkeypatch.setattr(watched_file, "SETTLED", 0)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def request(**attributes: str | bytes) -> bytes:
    """Return a request as Postfix sends it, with these attributes changed."""
    values: dict[str, str | bytes] = {
        "request": "smtpd_access_policy",
        "protocol_state": "RCPT",
        "protocol_name": "ESMTP",
        "client_address": "192.0.2.1",
        "client_name": "mail.example.com",
        "helo_name": "mail.example.com",
        "queue_id": "",
        "sender": "sender@example.com",
        "recipient": "recipient@example.org",
        "instance": "123.456.7",
    }
    values.update(attributes)
    lines = (
        name.encode() + b"=" + (value if isinstance(value, bytes) else value.encode()) + b"\n"
        for name, value in values.items()
    )
    return b"".join(lines) + b"\n"


DEFERRED = b"action=defer_if_permit Service is temporarily unavailable\n\n"
PASSED = b"action=dunno\n\n"


NAMESPACE = """
mkdir -p "$0/dev"
mount --rbind /dev "$0/dev"
mount -t tmpfs none /dev
for name in null zero urandom; do
    touch /dev/$name
    mount --bind "$0/dev/$name" /dev/$name
done
ln -s "$0/log" /dev/log
exec "$@"
"""
"""Gives a program, and nobody else, a /dev whose log is a socket of the test's own."""


class Syslog:
    """A socket in the place of the syslog daemon's, and programs that log to it."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._directory = place.directory / "syslog"
        self._directory.mkdir()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._directory / "log"))
        (self._directory / "log").chmod(0o666)
        self._socket.setblocking(False)

    @staticmethod
    def is_possible() -> bool:
        """Return whether a program can be given a /dev of its own."""
        return can_be_root() and as_root("unshare", "-m", "true", check=False).returncode == 0

    def run(self, *arguments: str, data: bytes = b"") -> list[str]:
        """Serve the data, and return the lines that were logged."""
        command = ["env", f"GREYLIST_CONFIG={self._place.config}", SCRIPT, *arguments]
        namespace = ["unshare", "-m", "sh", "-ec", NAMESPACE, self._directory]
        as_root(*namespace, *command, input=data, text=False, check=False)
        lines = []
        try:
            while True:
                lines.append(self._socket.recv(8192).decode())
        except BlockingIOError:
            return lines

    def close(self) -> None:
        self._socket.close()


class TracedSyslog:
    """What a program hands to the kernel for the syslog daemon, which need not be there.

    In a container or a chroot there may be no namespace to be had, and no daemon either. strace
    has the C library believe that there is one, and nobody else's lines are among what it sees.
    """

    SENT = re.compile(r'sendto\(\d+, "((?:\\x[0-9a-f]{2})*)"')

    def __init__(self, place: Place) -> None:
        self._place = place
        self._trace = place.directory / "syslog-trace"

    @staticmethod
    def is_possible() -> bool:
        """Return whether programs can be traced."""
        return bool(shutil.which("strace"))

    def run(self, *arguments: str, data: bytes = b"") -> list[str]:
        """Serve the data, and return the lines that were logged."""
        calls = "connect,sendto"
        strace = ["strace", "-qq", "-xx", "-s", "65536", "-o", str(self._trace)]
        strace += ["-e", f"trace={calls}", "-e", f"inject={calls}:retval=0"]
        subprocess.run(
            [*strace, SCRIPT, *arguments],
            env={**os.environ, "GREYLIST_CONFIG": str(self._place.config)},
            input=data,
            capture_output=True,
            check=False,
        )
        sent = self.SENT.findall(self._trace.read_text())
        return [bytes.fromhex(text.replace("\\x", "")).decode() for text in sent]

    def close(self) -> None:
        """Do nothing: no more than a file in the place's directory is left."""


@pytest.fixture(params=[Syslog, TracedSyslog])
def syslog(place: Place, request: pytest.FixtureRequest) -> Iterator[Syslog | TracedSyslog]:
    if not request.param.is_possible():
        pytest.skip("cannot be done here")
    syslog = request.param(place)
    yield syslog
    syslog.close()
