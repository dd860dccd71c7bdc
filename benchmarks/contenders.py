"""Those who run: ours, the peers, and an echo as the ceiling of the load generator.

No peer's code is kept here. ``greylist.pl`` is copied from its Debian package when a run
begins, its paths edited.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time

from benchmarks.loader import PATIENCE, LoadError, Wire

EXAMPLE = "/usr/share/doc/postfix/examples/smtpd-policy/greylist.pl"
_SPAWNER = os.path.join(os.path.dirname(__file__), "spawner.py")
_ECHO_SERVER = os.path.join(os.path.dirname(__file__), "echo_server.py")
_ECHO = os.path.join(os.path.dirname(__file__), "echo.py")


RUNNING: list[Contender] = []
"""Those that were started and have not been stopped."""


class Contender:
    """A policy service that can be started, asked and stopped.

    Attributes:
        name: as it stands in the tables.
        directory: its own, for its database and its socket.
        address: of its socket: a path, or a host and port.
    """

    def __init__(self, name: str, directory: str, address: str | tuple[str, int] = "") -> None:
        self.name = name
        self.directory = directory
        os.makedirs(directory, 0o755, exist_ok=True)
        self.address = address or os.path.join(directory, "socket")

    def start(self) -> None:
        """Start it, and return when it listens."""
        RUNNING.append(self)
        self._start()
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.connect().close()
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End it, and return when it has ended."""
        RUNNING.remove(self)
        self._stop()

    def _start(self) -> None:
        raise NotImplementedError

    def _stop(self) -> None:
        raise NotImplementedError

    def connect(self) -> Wire:
        """Return a new connection."""
        return Wire.connected(self.address)


class Spawned(Contender):
    """A program that Postfix's spawn(8) would start, once per connection."""

    def __init__(
        self,
        name: str,
        directory: str,
        argv: list[str],
        environment: dict[str, str] | None = None,
        address: str | tuple[str, int] = "",
    ) -> None:
        super().__init__(name, directory, address)
        self.argv = argv
        # As Postfix's: import_environment, and nothing that the shell has set.
        self.environment = {"PATH": os.defpath, "LANG": "C", **(environment or {})}
        self._spawner: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        where = self.address if isinstance(self.address, str) else str(self.address[1])
        if isinstance(self.address, str) and os.path.exists(self.address):
            os.unlink(self.address)
        self._spawner = subprocess.Popen(
            [sys.executable, "-I", "-S", _SPAWNER, where, *self.argv], env=self.environment
        )

    def pids(self) -> list[int]:
        """Return the processes that serve a connection now."""
        assert self._spawner
        pid = self._spawner.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(number) for number in file.read().split()]

    def _stop(self) -> None:
        assert self._spawner
        end = time.monotonic() + PATIENCE
        try:
            while self.pids():  # its connections are closed, so they end
                if time.monotonic() > end:
                    raise LoadError(f"{self.name}: still serving")
                time.sleep(0.01)
        finally:
            for pid in self.pids():
                os.kill(pid, signal.SIGKILL)
            self._spawner.terminate()
            self._spawner.wait()
            self._spawner = None

    def spawn(self) -> Wire:
        """Return pipes to a process of its own."""
        return Wire.spawned(self.argv, self.environment)


class Daemon(Contender):
    """A program that goes into the background and leaves its process number in a file."""

    def __init__(
        self, name: str, directory: str, user: str, address: str | tuple[str, int] = ""
    ) -> None:
        super().__init__(name, directory, address)
        self.environment = dict(os.environ)
        account = pwd.getpwnam(user)
        os.chown(directory, account.pw_uid, account.pw_gid)
        self.user = user
        self.pidfile = os.path.join(directory, "pid")

    def command(self) -> list[str]:
        """Return the command line."""
        raise NotImplementedError

    def _start(self) -> None:
        subprocess.run(
            self.command(),
            env=self.environment,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _stop(self) -> None:
        with open(self.pidfile, encoding="ascii") as file:
            pid = int(file.read())
        os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + PATIENCE
        while os.path.exists(f"/proc/{pid}"):
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        if isinstance(self.address, str) and os.path.exists(self.address):
            os.unlink(self.address)


class Postgrey(Daemon):
    """As Debian starts it; logs each decision, and syncs each update."""

    def __init__(
        self, directory: str, logs: bool = True, address: str | tuple[str, int] = ""
    ) -> None:
        super().__init__("postgrey", directory, "postgrey", address)
        self._quiet = [] if logs else ["--quiet"]

    def command(self) -> list[str]:
        """Return the command line."""
        where = self.address
        place = f"--unix={where}" if isinstance(where, str) else f"--inet={where[0]}:{where[1]}"
        return [
            "/usr/sbin/postgrey",
            "--daemonize",
            place,
            f"--pidfile={self.pidfile}",
            f"--dbdir={self.directory}",
            "--hostname=mx.example.org",
            *self._quiet,
        ]


class Sqlgrey(Daemon):
    """With SQLite, the rest as Debian has it; logs each decision."""

    def __init__(
        self, directory: str, logs: bool = True, address: str | tuple[str, int] = ""
    ) -> None:
        super().__init__("sqlgrey", directory, "sqlgrey", address)
        self._level = "2" if logs else "O"

    def command(self) -> list[str]:
        """Return the command line, its configuration being written."""
        configuration = os.path.join(self.directory, "sqlgrey.conf")
        where = self.address
        place = f"unix = {where}" if isinstance(where, str) else f"inet = {where[0]}:{where[1]}"
        lines = (
            f"loglevel = {self._level}",
            place,
            "db_type = SQLite",
            f"db_name = {self.directory}/sqlgrey.sqlite",
            "admin_mail =",
        )
        with open(configuration, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        arguments = ["--daemonize", "--configfile", configuration, "--pidfile", self.pidfile]
        return ["/usr/sbin/sqlgrey", *arguments]


def echo(directory: str, address: str | tuple[str, int] = "", action: str = "dunno") -> Spawned:
    """Return the ceiling: a filter in Python that does nothing but answer this."""
    argv = [sys.executable, "-I", "-S", _ECHO, action]
    return Spawned("echo", directory, argv, address=address)


class Server(Contender):
    """A program that is one process, or a few, for all connections, and stays in the foreground."""

    def __init__(
        self, name: str, directory: str, argv: list[str], environment: dict[str, str], user: str
    ) -> None:
        super().__init__(name, directory)
        self.argv = argv
        self._environment = {"PATH": os.defpath, "LANG": "C", **environment}
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    def _start(self) -> None:
        if self._user:
            account = pwd.getpwnam(self._user)
            for place in (self.directory, os.path.join(self.directory, "db")):
                if os.path.exists(place):
                    os.chown(place, account.pw_uid, account.pw_gid)
        self._process = subprocess.Popen(
            [*self.argv, str(self.address)],
            env=self._environment,
            user=self._user or None,
            stderr=subprocess.DEVNULL,
        )

    def pids(self) -> list[int]:
        """Return its processes."""
        assert self._process
        pid = self._process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [pid, *(int(number) for number in file.read().split())]

    def _stop(self) -> None:
        assert self._process
        self._process.terminate()
        self._process.wait(PATIENCE)
        self._process = None


def echo_server(directory: str, action: str = "dunno") -> Server:
    """Return the ceiling of a server: asyncio, which does nothing but answer this."""
    argv = [sys.executable, "-I", "-S", _ECHO_SERVER, action]
    return Server("echo on asyncio", directory, argv, {}, "")


def server(
    directory: str,
    whitelist: bytes,
    settings: str = "",
    *,
    workers: int = 1,
    user: str = "",
    uvloop: bool = False,
) -> Server:
    """Return our server, with further lines of settings; without uvloop where it is not wanted."""
    spawned = ours(directory, whitelist, settings=settings + "listen_mode = 0666\n")
    name = "serve" if workers == 1 else f"serve, {workers} workers"
    code = "import sys; sys.argv[-1] = 'unix:' + sys.argv[-1]; "
    if uvloop:
        name += ", uvloop"
        code += "import uvloop; "
    else:
        code += "sys.modules['uvloop'] = None; "
    code += "from greylist.__main__ import main; main()"
    argv = [sys.executable, "-c", code, "serve", "--workers", str(workers), "--listen"]
    return Server(name, directory, argv, spawned.environment, user)


S_POSTGRAY = "s-postgray"


def s_postgray(directory: str) -> list[Spawned]:
    """Return the peer in C that keeps its state in memory, if it is installed: Debian has none.

    Its clients are spawned and ask one server, which the first one starts, and which writes its
    state to a file when it ends. It takes 64 clients at once, if no other number is said.
    """
    program = shutil.which(S_POSTGRAY) or shutil.which(S_POSTGRAY, path="/usr/local/libexec")
    if not program:
        return []
    store = os.path.join(directory, "store")
    os.makedirs(store, 0o700)
    return [
        _WithServer(
            S_POSTGRAY, directory, [program, "--store-path", store, "--server-queue", "128"]
        )
    ]


class _WithServer(Spawned):
    """s-postgray's clients; their server has to be ended after them."""

    def _stop(self) -> None:
        super()._stop()
        subprocess.run([*self.argv, "--shutdown"], check=True, env=self.environment)


def program() -> str:
    """Return the installed filter."""
    return os.path.join(sysconfig.get_path("scripts"), "greylist")


def ours(
    directory: str, whitelist: bytes, address: str | tuple[str, int] = "", settings: str = ""
) -> Spawned:
    """Return our filter, with further lines of settings."""
    os.makedirs(directory, 0o755, exist_ok=True)
    os.makedirs(os.path.join(directory, "db"), 0o700, exist_ok=True)
    configuration = os.path.join(directory, "greylist.cf")
    listed = os.path.join(directory, "nogreylist")
    with open(listed, "wb") as file:
        file.write(whitelist)
    with open(configuration, "w", encoding="utf-8") as file:
        file.write(f"database = {directory}/db/greylist.db\nwhitelist = {listed}\n{settings}")
    environment = {"GREYLIST_CONFIG": configuration}
    return Spawned("greylist", directory, [program()], environment, address)


_OPEN_EACH_TIME = r"""
# What follows is of the benchmark: a store that is opened, locked and closed for each request.
use Fcntl;
use DB_File::Lock;
my $listed;
BEGIN {
    open my $file, '<', '%(whitelist)s' or die $!;
    my @lines = grep { length && !/^#/ } map { s/\n//r } <$file>;
    $listed = join '|', @lines;
}
sub smtpd_access_policy {
    my $name = lc "$attr{client_address}/$attr{sender}/$attr{recipient}";
    return 'dunno' if length $listed && $name =~ /($listed)/o;
    tie my %%entries, 'DB_File::Lock', $database_name, O_CREAT|O_RDWR, 0644, $DB_BTREE, 'write'
        or fatal_exit "Cannot open database %%s: $!", $database_name;
    my $now = time;
    my ($first, $last, $tries) = split /\//, $entries{$name} // '0/0/0';
    ($first, $last, $tries) = $first ? ($first, $now, $tries + 1) : ($now, 0, 0);
    $entries{$name} = "$first/$last/$tries";
    untie %%entries;
    return 'dunno' if $now - $first >= $greylist_delay;
    return 'defer_if_permit Service is temporarily unavailable';
}
"""


def greylist_pl(directory: str, whitelist: bytes) -> Spawned:
    """Return ``greylist.pl`` as the original of this project is: a safe store, a whitelist.

    Debian's package has an elder one. Into a copy of it goes what the original does in other
    ways: DB_File::Lock, one opening and one write per request, and the whitelist.
    """
    path, listed = _copy(directory), os.path.join(directory, "nogreylist")
    with open(listed, "wb") as file:
        file.write(whitelist)
    with open(path, encoding="utf-8") as file:
        text = file.read().replace("sub smtpd_access_policy {", "sub policy_of_the_package {")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + _OPEN_EACH_TIME % {"whitelist": listed})
    return Spawned("greylist.pl", directory, ["/usr/bin/perl", path])


def packaged_pl(directory: str) -> Spawned:
    """Return ``greylist.pl`` just as Debian's postfix-doc has it, but for its paths."""
    return Spawned("greylist.pl (postfix-doc)", directory, ["/usr/bin/perl", _copy(directory)])


def _copy(directory: str) -> str:
    os.makedirs(directory, 0o755, exist_ok=True)
    with open(EXAMPLE, encoding="utf-8") as file:
        text = file.read()
    database = os.path.join(directory, "greylist.db")
    text, places = re.subn(r"(?m)^\$database_name=.*$", f"$database_name='{database}';", text)
    text, delays = re.subn(r"(?m)^\$greylist_delay=.*$", "$greylist_delay=300;", text)
    if (places, delays) != (1, 1):
        raise RuntimeError("this greylist.pl is not the one that is known here")
    path = os.path.join(directory, "greylist.pl")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path
