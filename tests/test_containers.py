"""The recipes of docs/containers.md, each run word by word but for its places, ports and users."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from configparser import RawConfigParser
from pathlib import Path

import pytest
import yaml
from conftest import DEFERRED, PASSED, SCRIPT, request
from postfix_harness import Postfix, free_port, unavailable
from server import connected, replies

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "containers.md").read_text()
IMAGE = ROOT / "packaging" / "container"
EXIM = Path(sys.prefix) / "exim"
"""Where `.ci/setup test` unpacks Debian's package: installed, it would take Postfix's place."""

ADDRESS = "127.0.0.1:10023"
PROGRAM = "/usr/bin/greylist"
USER = pwd.getpwuid(os.geteuid()).pw_name


def blocks(heading: str) -> list[str]:
    """Return the blocks of the page between this heading and the next one."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"(?ms)^```\w*\n(.*?)^```", section)


def here(text: str, port: int) -> str:
    """Return a recipe as it is for this machine."""
    text = text.replace(ADDRESS, f"127.0.0.1:{port}").replace(PROGRAM, SCRIPT)
    return text.replace("user=greylist", f"user={USER}")


def unit(text: str) -> RawConfigParser:
    """Return a unit of systemd; no recipe sets a variable twice."""
    parser = RawConfigParser()
    parser.optionxform = str
    parser.read_string(text)
    return parser


@contextlib.contextmanager
def running(command, **options):
    """Run a command, and end it as its supervisor would."""
    process = subprocess.Popen(command, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def asked(address, data, count=1):
    """Return so many replies of whoever listens there."""
    with connected(address) as client:
        client.sendall(data)
        return replies(client, count)


@pytest.mark.postfix
@pytest.mark.skipif(bool(unavailable()), reason=unavailable())
def test_postfix_in_another_container(place):
    """The image's command answers a Postfix with that line in its main.cf."""
    (line,) = (block for block in blocks("Postfix in another container") if "check_" in block)
    line = line.strip()
    assert line in (IMAGE / "postfix.Containerfile").read_text()
    assert line in (IMAGE / "compose.yaml").read_text()
    lines = dict(
        one.split(" ", 1)
        for one in (IMAGE / "Containerfile").read_text().splitlines()
        if one.startswith(("ENTRYPOINT", "CMD"))
    )
    command = json.loads(lines["ENTRYPOINT"]) + json.loads(lines["CMD"])
    port = free_port()
    argv = [here(word, port).replace("0.0.0.0:10023", f"127.0.0.1:{port}") for word in command]
    policy = line.replace("greylist:10023", f"127.0.0.1:{port}")
    main = {"smtpd_recipient_restrictions": f"reject_unauth_destination, {policy}"}
    with running(argv, env=place.environment), Postfix(main) as postfix:
        connected(("127.0.0.1", port)).close()
        assert postfix.attempt("192.0.2.1", "a@example.com", "b@example.org") == 450
        assert not postfix.filters()
        place.age(400)
        assert postfix.attempt("192.0.2.1", "a@example.com", "b@example.org") == 250


def test_the_compose_file():
    """What the compose file names is there, and the server needs nothing of its host."""
    compose = yaml.safe_load((IMAGE / "compose.yaml").read_text())
    assert set(compose["services"]) == {"greylist", "postfix"}
    for service in compose["services"].values():
        build = service["build"]
        context = (IMAGE / build["context"]).resolve()
        assert context == ROOT.resolve()
        recipe = context / build["dockerfile"]
        for source in re.findall(r"(?m)^COPY (.*) \S+$", recipe.read_text()):
            for name in source.split():
                assert name.startswith("dist/") or (context / name).exists(), name
        named = {volume.partition(":")[0] for volume in service["volumes"]}
        assert named <= set(compose["volumes"])
    server = compose["services"]["greylist"]
    assert server["read_only"] is True
    assert server["cap_drop"] == ["ALL"]
    assert "ports" not in server


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd")
def test_a_filter_for_each_connection_of_systemd(place):
    """Each connection of the socket unit is given to a filter of its own."""
    listening, service = map(unit, blocks("systemd, a filter for each connection"))
    assert listening["Socket"]["Accept"] == "yes"
    assert service["Service"]["StandardInput"] == "socket"
    port = free_port()
    address = here(listening["Socket"]["ListenStream"], port)
    # --inetd is StandardInput=socket: standard output follows it (systemd.exec(5)).
    command = ["systemd-socket-activate", "--accept", "--inetd", "--listen", address]
    command += [f"--setenv={name}" for name in place.environment]
    command += here(service["Service"]["ExecStart"], port).split()
    with running(command, env=place.environment, stderr=subprocess.DEVNULL):
        with connected(("127.0.0.1", port)) as first, connected(("127.0.0.1", port)) as second:
            for client in first, second:
                client.sendall(request())
            assert [replies(client, 1) for client in (first, second)] == [DEFERRED] * 2
        place.age(400)
        assert asked(("127.0.0.1", port), request()) == PASSED


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="needs systemd")
def test_the_sockets_of_systemd(place):
    """The server takes the socket of the package's own unit from systemd, which listens before."""
    packaged = ROOT / "packaging" / "systemd"
    listening, service = (
        unit((packaged / f"greylist.{kind}").read_text().replace("SystemCallFilter=~", "X="))
        if kind == "socket"
        else (packaged / "greylist.service").read_text()
        for kind in ("socket", "service")
    )
    path = str(place.directory / Path(listening["Socket"]["ListenStream"]).name)
    argv = re.search(r"(?m)^ExecStart=(.*)$", service)[1].replace(PROGRAM, SCRIPT).split()
    command = ["systemd-socket-activate", "--listen", path]
    command += [f"--setenv={name}" for name in place.environment]
    with running([*command, *argv], env=place.environment, stderr=subprocess.DEVNULL):
        assert asked(path, request() * 2, 2) == DEFERRED * 2


@pytest.mark.skipif(not shutil.which("supervisord"), reason="needs supervisor")
def test_a_supervisor_in_postgrey_s_place(place):
    """The supervisor starts the server on the port, again when it dies, and ends it."""
    (program,) = blocks("A supervisor, in postgrey's place")
    port = free_port()
    config = place.directory / "supervisord.conf"
    config.write_text(
        "[supervisord]\nnodaemon = true\n"
        f"logfile = {place.directory}/log\npidfile = {place.directory}/pid\n"
        f"childlogdir = {place.directory}\n\n{here(program, port)}"
    )
    options = {"env": place.environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options["env"].pop("PYTHONWARNINGS")  # those of the supervisor's own
    with running(["supervisord", "-c", config], **options) as supervisor:
        assert asked(("127.0.0.1", port), request()) == DEFERRED
        children = Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children")
        (child,) = map(int, children.read_text().split())
        os.kill(child, signal.SIGKILL)
        place.age(400)
        with contextlib.suppress(ConnectionResetError):  # it may be at its last
            assert asked(("127.0.0.1", port), request()) == PASSED
        assert asked(("127.0.0.1", port), request()) == PASSED
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


EXIM_MAIN = """\
primary_hostname = mail.example.org
spool_directory = {directory}
log_file_path = {directory}/%slog
exim_user = {user}
exim_group = {group}
never_users =
domainlist local_domains = example.org
trusted_users = {user}
acl_smtp_rcpt = acl_check_rcpt
begin acl
acl_check_rcpt:
  require domains = +local_domains
{recipe}
  accept
"""


@pytest.fixture
def spool():
    """Return a directory for Exim, of the user that it becomes: it refuses to be root."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
        yield Path(directory)


@pytest.mark.skipif(not EXIM.exists(), reason="needs Exim, which .ci/setup unpacks")
def test_exim(place, spool):
    """Exim defers at RCPT who has to wait, and goes on without the server."""
    (recipe,) = blocks("Exim")
    port = free_port()
    account = pwd.getpwuid(spool.stat().st_uid)
    config = spool / "exim.conf"
    text = EXIM_MAIN.format(
        directory=spool,
        user=account.pw_uid,
        group=account.pw_gid,
        recipe=here(recipe, port),
    )
    config.write_text(text)
    config.chmod(0o644)
    # It wants an account of its own to be there; and no name server is asked.
    own = {
        "PASSWD": f"Debian-exim:x:{account.pw_uid}:{account.pw_gid}::/:/bin/sh",
        "GROUP": f"Debian-exim:x:{account.pw_gid}:",
        "HOSTS": "127.0.0.1 localhost",
    }
    environment = {"LD_PRELOAD": "libnss_wrapper.so", "PATH": os.environ["PATH"]}
    for name, line in own.items():
        file = name.lower()
        (spool / file).write_text(f"{line}\n{Path('/etc', file).read_text()}")
        (spool / file).chmod(0o644)
        environment[f"NSS_WRAPPER_{name}"] = str(spool / file)

    client = ["-oMa", "192.0.2.1", "-oMs", "mail.example.com"]

    def rcpt() -> bytes:
        talk = "EHLO helo.example.com\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n"
        done = subprocess.run(
            [EXIM / "usr/sbin/exim4", "-C", config, "-bs", *client],
            input=(talk + "QUIT\r\n").encode(), env=environment, capture_output=True, check=False,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if re.match(rb"\d{3} ", line)]
        assert len(lines) == 5, (done.stdout, done.stderr)
        return lines[3]

    command = [SCRIPT, "--log", "stderr", "serve", "--listen", f"inet:127.0.0.1:{port}"]
    with (
        (place.directory / "served").open("wb") as said,
        running(command, env=place.environment, stderr=said),
    ):
        connected(("127.0.0.1", port)).close()
        assert rcpt() == b"451 Service is temporarily unavailable"
        place.age(400)
        assert rcpt() == b"250 Accepted"
    log = (place.directory / "served").read_text()
    for line in ("action=greylist, reason=new", "action=pass, reason=triplet found, delay=4"):
        assert line in log
    assert log.count("client_name=mail.example.com, client_address=192.0.2.1") == 2
    assert rcpt() == b"250 Accepted"
