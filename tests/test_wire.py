"""Nothing but replies on the policy socket, whatever is missing or wrong."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from conftest import SCRIPT, request

from greylist import missing

ROOT = Path(__file__).parent.parent
ENTRY = ROOT / "greylist" / "__main__.py"


def spawned(command, place, data=None, **environment):
    """Return what a program writes to a socket that is all three of its standard streams."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=place.environment | environment
    )
    theirs.close()
    ours.sendall(request() if data is None else data)
    ours.shutdown(socket.SHUT_WR)
    answer = b""
    with contextlib.suppress(ConnectionResetError):  # it ended without reading the request
        while piece := ours.recv(65536):
            answer += piece
    ours.close()
    return answer, process.wait(60)


def by_hand(command, place, **environment):
    """Return what a program tells a person."""
    return subprocess.run(
        command,
        input=request(),
        capture_output=True,
        env=place.environment | environment,
        timeout=60,
        check=False,
    )


def copy_package(target):
    """Copy the package, without what Python has compiled of it."""
    shutil.copytree(ROOT / "greylist", target, ignore=shutil.ignore_patterns("__pycache__"))


def bare(*arguments):
    """Return a Python without the packages that are installed beside it."""
    return [sys.executable, "-S", *arguments]


LOST = [
    pytest.param(bare(str(ENTRY)), {}, b"has no working package greylist", id="another Python"),
    pytest.param(
        bare("-m", "greylist"), {"PYTHONPATH": str(ROOT)}, b"install bsddb3", id="no libdb"
    ),
    pytest.param(
        bare("-m", "greylist", "list"), {"PYTHONPATH": str(ROOT)}, b"install click", id="no click"
    ),
]


@pytest.mark.parametrize(("command", "environment", "words"), LOST)
def test_a_module_that_is_missing(place, command, environment, words):
    """It is one line with the remedy for a person, and nothing on the policy socket."""
    assert spawned(command, place, **environment) == (b"", 1)
    result = by_hand(command, place, **environment)
    assert result.stdout == b""
    assert result.stderr.count(b"\n") == 1
    assert words in result.stderr
    assert b"mend it: " in result.stderr
    assert result.returncode == 1


def test_a_shared_database_without_its_package(place):
    """What only this setting needs is named with its remedy too."""
    place.configure(database="valkey://127.0.0.1:1/0")
    command = bare("-m", "greylist")
    assert spawned(command, place, PYTHONPATH=str(ROOT)) == (b"", 1)
    said = by_hand(command, place, PYTHONPATH=str(ROOT)).stderr.decode()
    assert said.startswith("greylist: fatal: valkey://127.0.0.1:1: ")
    assert said.endswith(f"; mend it: {sys.executable} -m pip install hiredis\n")


BROKEN = [
    pytest.param(b"def (\n", b"SyntaxError: invalid syntax", id="half a line"),
    pytest.param(bytes(512), b"null bytes", id="zeros, as after a power cut"),
    pytest.param(b"", b"cannot import name", id="empty, as on a full disk"),
    pytest.param(b"import nosuchmodule\n", b"No module named 'nosuchmodule'", id="another Python"),
    pytest.param(b"nosuchname\n", b"NameError: name 'nosuchname'", id="another version"),
]


@pytest.mark.parametrize(("text", "words"), BROKEN)
@pytest.mark.parametrize("called", [("expiry",), ("commands/entry", "list"), ("expiry", "list")])
def test_a_module_that_is_not_whole(place, tmp_path, called, text, words):
    """It is one line with the remedy for a person, and nothing on the policy socket."""
    module, *arguments = called
    copy_package(tmp_path / "greylist")
    (tmp_path / "greylist" / f"{module}.py").write_bytes(text)
    command = [sys.executable, "-P", "-m", "greylist", *arguments]
    assert spawned(command, place, PYTHONPATH=str(tmp_path)) == (b"", 1)
    result = by_hand(command, place, PYTHONPATH=str(tmp_path))
    assert (result.returncode, result.stdout, result.stderr.count(b"\n")) == (1, b"", 1)
    assert words in result.stderr
    remedy = f"mend it: {sys.executable} -m pip install --force-reinstall greylist\n"
    assert result.stderr.endswith(remedy.encode())


@pytest.mark.root
def test_a_module_that_others_cannot_read(place):
    """It is named, with the command that opens the package for the filter's user."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        package = Path(name, "greylist")
        copy_package(package)
        os.chmod(name, 0o755)
        (package / "expiry.py").chmod(0o600)
        command = ["setpriv", "--reuid=65534", "--clear-groups", *bare("-P", "-m", "greylist")]
        result = by_hand(command, place, PYTHONPATH=name)
        assert result.stderr.count(b"\n") == 1, result.stderr
        said = result.stderr.decode()
        assert f"Permission denied: '{package}/expiry.py'" in said
        subprocess.run(shlex.split(said.partition("mend it: ")[2]), check=True)
        assert b"expiry" not in by_hand(command, place, PYTHONPATH=name).stderr


@pytest.mark.parametrize(
    ("module", "path", "command"),
    [
        ("bsddb3._pybsddb", None, "apt-get install --reinstall python3-bsddb3"),
        ("dns.resolver", "/usr/lib/x.so", "apt-get install --reinstall python3-dnspython"),
        ("filelock", None, "apt-get install --reinstall greylist"),
        ("greylist.expiry", None, "apt-get install --reinstall greylist"),
    ],
)
def test_the_remedy_in_a_debian_package(monkeypatch, module, path, command):
    """The package's program does not look where pip installs: what is missing comes by apt."""
    monkeypatch.setattr(missing, "__file__", "/usr/lib/greylist/greylist/missing.py")
    assert missing.remedy(ImportError("gone", name=module, path=path)).endswith(
        f"mend it: {command}"
    )


@pytest.mark.parametrize("arguments", [["--log", "stderr"], ["--log", "stderr", "--verbose"]])
def test_logging_to_standard_error(place, arguments):
    """Standard error is the policy socket under spawn: no log line gets there."""
    program = shutil.which("greylist", path=os.path.dirname(sys.executable))
    answer, status = spawned([program, *arguments], place)
    assert answer == b"action=defer_if_permit Service is temporarily unavailable\n\n"
    assert status == 0


@pytest.mark.parametrize("arguments", [["--delay", "soon"], ["--nonsense"], ["list", "--nonsense"]])
def test_wrong_usage(place, arguments):
    """What is wrong with the arguments is no reply."""
    program = shutil.which("greylist", path=os.path.dirname(sys.executable))
    assert spawned([program, *arguments], place) == (b"", 2)


def test_the_remedies_lead_to_a_working_program(tmp_path, place):
    """What is printed, done one after the other, installs all that a command needs."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    for _ in range(8):
        result = by_hand([python, "-m", "greylist", "dump"], place, PYTHONPATH=str(ROOT))
        text = result.stderr.decode()
        if "mend it: " not in text or "pip install" not in text:
            break
        remedy = text.partition("mend it: ")[2].split()
        subprocess.run([*remedy, "--quiet", "--disable-pip-version-check"], check=True)
    assert "there is no database" in text, text
    assert by_hand([python, "-m", "greylist"], place, PYTHONPATH=str(ROOT)).returncode == 0


@pytest.mark.parametrize("to", ["pipe", "file"])
def test_both_streams_in_one_place(place, tmp_path, to):
    """Of a command, cron or a supervisor gets errors too; of a filter, there are replies alone."""

    def together(*arguments):
        with (tmp_path / "both").open("wb") as file:
            target = subprocess.PIPE if to == "pipe" else file
            done = subprocess.run(
                [SCRIPT, *arguments],
                input=request(),
                stdout=target,
                stderr=subprocess.STDOUT,
                env=place.environment,
                timeout=60,
                check=False,
            )
        return done.stdout if to == "pipe" else (tmp_path / "both").read_bytes()

    assert b"No such option" in together("list", "--nosuch")
    assert b"there is no database" in together("list")
    place.data.chmod(0o777)
    assert together() == b""


def test_both_streams_in_the_journal(place):
    """The journal takes output and errors by one socket, but input comes from elsewhere."""
    listen = f"unix:{place.directory}/nowhere/socket"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = subprocess.run(
            [SCRIPT, "--log", "stderr", "serve", "--listen", listen], env=place.environment,
            stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert b"No such file or directory" in ours.recv(4096)
