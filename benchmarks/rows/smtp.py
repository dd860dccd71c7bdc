"""The whole road: SMTP sessions through a real Postfix, its policy service at the end of RCPT.

One Postfix of our own, apart from the machine's, listens once for each contender: the same
smtpd(8) and the same spawn(8), other restrictions.
"""

from __future__ import annotations

import os
import pwd
import select
import shutil
import socket
import subprocess
import time
from statistics import median

from benchmarks import contenders, traffic
from benchmarks.bench import Table, milli, rate, times, wait
from benchmarks.loader import PATIENCE, Load, LoadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.contenders import Spawned

USER = "nobody"
"""As whom Postfix spawns the filters."""

PORT = 28225
"""The first of the listening ports."""

SESSIONS = 10
"""Sessions at once."""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
mail_owner = postfix
myhostname = mx.example.org
mydestination = example.org
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
local_recipient_maps =
smtpd_peername_lookup = no
smtpd_tls_security_level = none
smtpd_authorized_xclient_hosts = 127.0.0.1
smtpd_relay_restrictions =
smtpd_client_connection_count_limit = 0
smtpd_error_sleep_time = 0
default_process_limit = 100
syslog_name = greylist-bench
export_environment = {environment}
"""

_MASTER = """\
anvil unix - - n - 1 anvil
rewrite unix - - n - - trivial-rewrite
proxymap unix - - n - - proxymap
cleanup unix n - n - 0 cleanup
error unix - - n - - error
retry unix - - n - - error
"""

_LISTEN = """\
127.0.0.1:{port} inet n - n - - smtpd
  -o {{ smtpd_recipient_restrictions = reject_unauth_destination, {restriction} }}
"""

_SPAWN = """\
{name} unix - n n - 0 spawn
  user={user} argv={argv}
"""

_DEFER = "check_recipient_access static:{{defer_if_permit Service is temporarily unavailable}}"


class Postfix:
    """A Postfix instance of its own, with a listener for each contender."""

    def __init__(self, home: str) -> None:
        """Make its directories in this one."""
        self.home = home
        self.restrictions: dict[str, str] = {}
        self._services: list[str] = []
        self._environment: dict[str, str] = {}
        for name in "etc", "queue", "data":
            os.makedirs(os.path.join(home, name), 0o755)
        shutil.chown(os.path.join(home, "data"), "postfix")
        self._master: subprocess.Popen[bytes] | None = None

    def spawn(self, contender: Spawned) -> None:
        """Have a contender's filters spawned, and a listener that asks them."""
        service = f"policy{len(self._services)}"
        self._environment |= contender.environment
        argv = " ".join(contender.argv)
        self._services.append(_SPAWN.format(name=service, user=USER, argv=argv))
        self.restrictions[contender.name] = f"check_policy_service unix:private/{service}"

    def port(self, name: str) -> int:
        """Return the port that asks this contender."""
        return PORT + list(self.restrictions).index(name)

    def start(self) -> None:
        """Run until ``stop``."""
        etc = os.path.join(self.home, "etc")
        with open(os.path.join(etc, "main.cf"), "w", encoding="utf-8") as file:
            variables = [f"{name}={value}" for name, value in self._environment.items()]
            file.write(_MAIN.format(home=self.home, environment=" ".join(variables)))
        with open(os.path.join(etc, "master.cf"), "w", encoding="utf-8") as file:
            file.write(_MASTER + "".join(self._services))
            file.writelines(
                _LISTEN.format(port=self.port(name), restriction=restriction)
                for name, restriction in self.restrictions.items()
            )
        self._command("check")
        programs = subprocess.run(
            ["postconf", "-c", etc, "-hx", "daemon_directory"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        # In the foreground, a child of ours, whose end is ours to see.
        self._master = subprocess.Popen(
            [os.path.join(programs, "master"), "-c", etc, "-d"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={"PATH": os.defpath, "MAIL_CONFIG": etc},
        )  # fmt: skip
        end = time.monotonic() + PATIENCE
        for name in self.restrictions:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", self.port(name))).close()
                except ConnectionRefusedError:
                    if time.monotonic() > end or self._master.poll() is not None:
                        raise
                    time.sleep(0.05)
                else:
                    break

    def _command(self, what: str) -> None:
        etc = os.path.join(self.home, "etc")
        subprocess.run(
            ["postfix", "-c", etc, what], check=True, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def stop(self) -> None:
        """End master and all its children."""
        if self._master:
            self._master.terminate()
            self._master.wait(PATIENCE)


class Session:
    """One SMTP session: a list of commands, each sent when the reply before it is whole."""

    def __init__(self, port: int, number: int) -> None:
        """Connect, for the triplet of this number."""
        client, sender, recipient = traffic.triplet(number)
        self.commands = [
            b"EHLO mail.example.net\r\n",
            f"XCLIENT NAME=mail.example.net ADDR={client} HELO=mail.example.net\r\n".encode(),
            b"EHLO mail.example.net\r\n",
            f"MAIL FROM:<{sender}>\r\n".encode(),
            f"RCPT TO:<{recipient}>\r\n".encode(),
            b"QUIT\r\n",
        ]
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.asked = 0.0
        self.latency = 0.0
        self._reply = b""

    def on_input(self) -> bool:
        """Read what has come and go on; return whether the session is over.

        Raises:
            LoadError: a reply is not what it must be.
        """
        data = self.socket.recv(8192)
        if not data:
            raise LoadError("Postfix hung up")
        self._reply += data
        last = self._reply.rstrip(b"\r\n").rpartition(b"\n")[2]
        if not self._reply.endswith(b"\n") or last[3:4] == b"-":
            return False
        now = time.perf_counter()
        asked, rest = len(self.commands), self._reply
        self._reply = b""
        if asked == 1:
            self.latency = now - self.asked
            if not rest.startswith(b"450 "):
                raise LoadError(f"RCPT: {rest!r}")
        elif not rest.startswith((b"220", b"250", b"221")):
            raise LoadError(f"{asked} commands before the end: {rest!r}")
        if not self.commands:
            self.socket.close()
            return True
        if asked == 2:
            self.asked = now
        self.socket.sendall(self.commands.pop(0))
        return False


def sessions(port: int, seconds: float) -> Load:
    """Keep ten sessions going for some time; return the waits at RCPT."""
    poll = select.epoll()
    active: dict[int, Session] = {}
    number = 0
    waits = []

    def begin() -> None:
        nonlocal number
        session = Session(port, number % 1000)
        number += 1
        active[session.socket.fileno()] = session
        poll.register(session.socket, select.EPOLLIN)

    start = time.perf_counter()
    for _ in range(SESSIONS):
        begin()
    try:
        while active:
            events = poll.poll(PATIENCE)
            if not events:
                raise LoadError(f"no reply for {PATIENCE} s")
            for descriptor, _ in events:
                session = active[descriptor]
                if session.on_input():
                    del active[descriptor]
                    waits.append(session.latency)
                    if time.perf_counter() < start + seconds:
                        begin()
    finally:
        poll.close()
        for session in active.values():
            session.socket.close()
    return Load(time.perf_counter() - start, waits, [number])


def postfix(bench: Bench) -> list[Table]:
    """Measure sessions a second and the latency of RCPT."""
    whitelist = traffic.whitelist(200)
    spawned = [
        contenders.echo(bench.place(), action="defer_if_permit"),
        contenders.ours(bench.place(), whitelist),
        contenders.greylist_pl(bench.place(), whitelist),
    ]
    account = pwd.getpwnam(USER)
    for contender in spawned:
        for folder in contender.directory, os.path.join(contender.directory, "db"):
            if os.path.exists(folder):
                os.chown(folder, account.pw_uid, account.pw_gid)
    daemons = [
        contenders.Postgrey(bench.place()),
        contenders.server(bench.place(), whitelist, user=USER),
        contenders.echo_server(bench.place(), action="defer_if_permit"),
    ]
    server = Postfix(bench.place())
    server.restrictions["no policy (static defer)"] = _DEFER.format()
    for contender in spawned:
        server.spawn(contender)
    for daemon in daemons:
        server.restrictions[daemon.name] = f"check_policy_service unix:{daemon.address}"
        daemon.start()
    try:
        server.start()
        seconds = bench.pick(2.0, 1.0)
        runs = {name: _runner(server.port(name), seconds) for name in server.restrictions}
        for run in runs.values():
            run()  # smtpd(8) and the filters start
        seen = bench.interleave(bench.pick(5, 2), runs, "Postfix")
    finally:
        server.stop()
        for daemon in daemons:
            daemon.stop()
    table = Table(
        f"Whole Postfix, {SESSIONS} sessions at once",
        "| sessions/s | greylist ÷ it | RCPT, median | p99 | max",
        "XCLIENT, one deferred recipient a session, connecting included. The echo is a filter that "
        "defers everybody and does nothing else: what spawning Python costs by itself.",
    )
    mine = rate(seen["greylist"])
    for name, loads in seen.items():
        waits = [milli(wait(loads, share)) for share in (0.5, 0.99, 1)]
        table.add(name, f"{rate(loads):,.0f}", times(mine / rate(loads)), *waits)
    table.must("≥ 0.95 × no policy", mine / rate(seen["no policy (static defer)"]), 0.95)
    table.must("≥ 1.3 × greylist.pl", mine / rate(seen["greylist.pl"]), 1.3)
    pairs = zip(seen["serve"], seen["echo on asyncio"], strict=True)
    ratio = median(one.rate / other.rate for one, other in pairs)
    table.must("≥ 0.95 × the echo on asyncio for serve", ratio, 0.95)
    pairs = zip(seen["serve"], seen["postgrey"], strict=True)
    waits = median(one.quantile(0.99) / other.quantile(0.99) for one, other in pairs)
    table.must("≤ 1 × postgrey's p99 for serve", waits, 1)
    return [table]


def _runner(port: int, seconds: float) -> Callable[[], Load]:
    return lambda: sessions(port, seconds)
