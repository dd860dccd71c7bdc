"""A real Postfix, with files of its own, on loopback, that runs the filter under spawn(8)."""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from readable import as_root, can_be_root, install
from settled import write

from greylist.watched_file import LOOK_EVERY

ROOT = Path(__file__).parent.parent

POSTFIX = shutil.which("postfix", path=f"{os.environ.get('PATH')}:/usr/sbin:/usr/local/sbin")

POLICY = "check_policy_service { unix:private/greylist, default_action=DUNNO, timeout=10s }"
"""As in README.md."""

MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/postfix
maillog_file = {directory}/mail.log
maillog_file_prefixes = {directory}
syslog_name = postfix
myhostname = mail.example.org
mydestination = example.org
mynetworks = 127.0.0.1/32
inet_interfaces = 127.0.0.1
smtpd_peername_lookup = no
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_client_connection_count_limit = 0
alias_maps =
local_recipient_maps =
local_transport = discard
default_transport = discard
relay_transport = discard
export_environment = GREYLIST_CONFIG={directory}/greylist.cf LD_LIBRARY_PATH={library}
greylist_time_limit = 3600
smtpd_relay_restrictions =
smtpd_recipient_restrictions = reject_unauth_destination, {policy}
"""

MASTER = """\
127.0.0.1:{port} inet n - n - 200 smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"""

AGE = """\
import sys
from greylist.expiry import Rules
from greylist.log import Log
from greylist.settings import Settings
from greylist.store.berkeley.store import BerkeleyStore, load_all
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.locks import KernelLock
from greylist.triplet import Triplet

path, seconds = sys.argv[1], int(sys.argv[2])
check(path, load_all)
store = BerkeleyStore(path, KernelLock(lock_path(path), 10), Log(), Rules(Settings()))

def shift(entries):
    for key, value in entries.after(b"", 1_000_000):
        if not key.startswith(b"/") or key.startswith(b"/pool/"):
            triplet = Triplet.unpack(value)
            triplet.ctime -= seconds
            triplet.atime -= seconds if triplet.atime else 0
            entries.put(key, triplet.pack(), 0)

store.transact(shift)
store.close()
"""


def unavailable() -> str:
    """Return why no Postfix can be run here, or nothing."""
    if POSTFIX is None:
        return "Postfix is not installed"
    return "" if can_be_root() else "Postfix needs root, or sudo without a password"


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Postfix:
    """A Postfix instance; as a context manager, a running one.

    Attributes:
        directory: everything of it: mail.log, greylist.cf, nogreylist, data/greylist.db.
        bin: the bin directory of the installation that the filters run from.
        port: where 127.0.0.1 speaks SMTP.
        master: the process identifier of Postfix's master, 0 when it does not run.
        policy_port: where 127.0.0.1 speaks the policy protocol: a filter under spawn(8) too.
    """

    def __init__(self, main: dict[str, str] | None = None, **settings: str) -> None:
        """Args: main: further lines of main.cf; settings: those of the filter's greylist.cf."""
        # Not in TMPDIR, which nobody else may be able to enter.
        self.directory = Path(tempfile.mkdtemp(prefix="greylist-postfix-", dir="/tmp"))
        self.directory.chmod(0o755)
        self.master = 0
        self.port, self.policy_port = free_port(), free_port()
        self.database = self.directory / "data" / "greylist.db"
        self.whitelist = self.directory / "nogreylist"
        self.bin = install(self.directory)
        # Of a copied Python; there may be none.
        self._library = self.directory / "python" / "lib"
        self.configure(**settings)
        self._postfix_files(main or {})

    def configure(self, **settings: str) -> None:
        """Write the filter's settings, and wait until filters that run look at them again."""
        settings = {"database": self.database, "whitelist": self.whitelist, **settings}
        lines = [f"{name} = {value}\n" for name, value in settings.items()]
        write(self.directory / "greylist.cf", "".join(lines))
        time.sleep(LOOK_EVERY)

    def _postfix_files(self, main: dict[str, str]) -> None:
        etc = self.directory / "etc"
        etc.mkdir()
        text = MAIN.format(directory=self.directory, library=self._library, policy=POLICY)
        text += "".join(f"{name} = {value}\n" for name, value in main.items())
        (etc / "main.cf").write_text(text)
        example = (ROOT / "master.cf.example").read_text()
        example = example.replace("user=greylist", "user=nobody")
        example = example.replace("/usr/local/lib/greylist/bin", str(self.bin))
        command = example[example.index("spawn\n") :]
        text = MASTER.format(port=self.port) + example
        text += f"127.0.0.1:{self.policy_port} inet n n n - 0 {command}"
        (etc / "master.cf").write_text(text)
        # Postfix makes the log readable for root only, but keeps it as it is when it exists.
        (self.directory / "mail.log").touch()
        self.whitelist.touch()
        # Whatever the umask: the filter runs as nobody.
        subprocess.run(["chmod", "-R", "a+rX", self.directory], check=True)
        as_root("chown", "-R", "0:0", etc)
        as_root("install", "-d", "-o", "root", "-m", "0755", self.directory / "queue")
        as_root("install", "-d", "-o", "nobody", "-m", "0700", self.directory / "data")

    def start(self) -> None:
        """Start it; it accepts connections when this returns."""
        self._command("start")
        pid_file = self.directory / "queue" / "pid" / "master.pid"
        self.master = int(as_root("cat", pid_file).stdout)

    def stop(self) -> None:
        """Stop it, and wait for its end."""
        self.master = 0
        self._command("stop")

    def _command(self, command: str) -> None:
        # Not into a pipe, which the master would keep open.
        with (self.directory / "postfix.out").open("a") as out:
            as_root(
                POSTFIX, "-c", self.directory / "etc", command,
                capture_output=False, stdout=out, stderr=out, timeout=60,
            )  # fmt: skip

    def remove(self) -> None:
        """Delete all of its files."""
        as_root("rm", "-rf", self.directory)

    def __enter__(self) -> Self:
        try:
            self.start()
        except subprocess.CalledProcessError:
            text = (self.directory / "postfix.out").read_text() + self.log()
            self.remove()
            raise AssertionError(text) from None
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            if self.master:
                self.stop()
        finally:
            self.remove()

    def log(self) -> str:
        """Return Postfix's log so far."""
        return (self.directory / "mail.log").read_text()

    def wait_for_log(self, pattern: str, seconds: float = 30) -> str:
        """Return the first match of a regular expression in the log, once it is there."""
        end = time.monotonic() + seconds
        while True:
            text = self.log()
            if match := re.search(pattern, text):
                return match[0]
            assert time.monotonic() < end, f"no {pattern!r} in {text}"
            time.sleep(0.02)

    def warnings(self) -> list[str]:
        """Return the lines of the log that tell of trouble."""
        return re.findall(r".*\b(?:warning|error|fatal|panic): .*", self.log())

    def filters(self) -> list[int]:
        """Return the process identifiers of the filters that run."""
        spawns = _children({self.master}, "spawn")
        return sorted(_children(spawns, "greylist"))

    def kill(self, pid: int, signal: int) -> None:
        """Send a signal to a filter, which may have ended."""
        as_root("sh", "-c", f"kill -{int(signal)} {pid}", check=False)

    def age(self, seconds: int) -> None:
        """Make every triplet older, as if that many seconds had gone by."""
        python = ("env", f"LD_LIBRARY_PATH={self._library}", self.bin / "python")
        as_root(*python, "-c", AGE, self.database, str(seconds))

    def client(self, address: str, name: str = "[UNAVAILABLE]") -> smtplib.SMTP:
        """Return an SMTP session that, to Postfix, comes from this address and host name.

        An IPv6 address is written as Postfix's XCLIENT_README says, ``IPV6:2001:db8::1``.
        """
        smtp = smtplib.SMTP("127.0.0.1", self.port, "client.example.com", timeout=60)
        smtp.ehlo()
        reply = smtp.docmd("XCLIENT", f"ADDR={address} NAME={name}")
        assert reply[0] == 220, reply
        smtp.ehlo()
        return smtp

    def attempt(self, address: str, sender: str, recipient: str) -> int:
        """Return the code of the reply to RCPT, in a session of its own."""
        with self.client(address) as smtp:
            assert smtp.mail(sender)[0] == 250
            return smtp.rcpt(recipient)[0]


def _children(parents: set[int], name: str) -> set[int]:
    """Return the processes of this name whose parents are these."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                head, _, tail = (entry / "stat").read_text().rpartition(")")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if head.partition("(")[2] == name and int(tail.split()[1]) in parents:
                found.add(int(entry.name))
    return found
