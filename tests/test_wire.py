"""Nothing but replies on the policy socket, whatever is missing or wrong."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import SCRIPT, request

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


def bare(*arguments):
    """Return a Python without the packages that are installed beside it."""
    return [sys.executable, "-S", *arguments]


LOST = [
    pytest.param(bare(str(ENTRY)), {}, b"has no package greylist", id="another Python"),
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
