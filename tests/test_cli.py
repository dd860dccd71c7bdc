"""The command line."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest
from click.testing import CliRunner
from conftest import DEFERRED, PASSED, SCRIPT, request

from greylist import __version__
from greylist.cli import COMMANDS, cli
from greylist.settings import SETTINGS


def test_version(place):
    """--version names the version."""
    assert place.run("--version").stdout.decode() == f"greylist, version {__version__}\n"


def test_help(place):
    """--help names every setting as an option, with its default."""
    text = " ".join(place.run("--help").stdout.decode().split())
    for setting in SETTINGS:
        assert f"--{setting.name.replace('_', '-')}" in text
        assert setting.help in text


def test_without_a_command_it_filters(place):
    """With options and no command it serves standard input, as without."""
    assert place.run("-v", data=request()).stdout == DEFERRED
    assert place.run("--delay", "0", data=request(sender="x@y")).stdout == PASSED


def test_options_win(place):
    """An option overrides the file."""
    place.configure(delay="5m", reply="From the file")
    filter = place.run("--reply", "From the option", data=request())
    assert filter.stdout == b"action=defer_if_permit From the option\n\n"
    other = place.data / "other.db"
    place.run("--database", str(other), data=request())
    assert other.exists()


def test_durable(place):
    """A yes-or-no setting is an option and its opposite."""
    assert place.run("--durable", data=request()).stdout == DEFERRED
    place.configure(durable="yes")
    assert place.run("--no-durable", data=request()).stdout == DEFERRED


def test_config(place):
    """--config names the settings file and wins over the environment."""
    other = place.directory / "other.cf"
    other.write_text(place.config.read_text() + "reply = Other\n")
    filter = place.run("--config", str(other), data=request())
    assert filter.stdout == b"action=defer_if_permit Other\n\n"


def test_verbosity_adds_up(place):
    """-v is repeatable, with the original's levels."""
    levels = [place.run("--log=stderr", *["-v"] * n, data=request()).stderr for n in range(5)]
    assert b"age" not in levels[0]
    assert b", age " in levels[1]
    assert b"lookup" not in levels[1]
    assert b"lookup" in levels[2]
    assert b"Action: " in levels[2]
    assert b"Attribute: " not in levels[2]
    assert b"Attribute: " in levels[3]
    assert levels[4].count(b"\n") == levels[3].count(b"\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--delay", "soon"], "delay: bad time 'soon'"),
        (["--database", "x.db"], "database: 'x.db' is not an absolute path"),
        (["--config", "/nowhere.cf"], "cannot read /nowhere.cf: No such file or directory"),
        (["--frobnicate"], "No such option"),
        (["frobnicate"], "No such command"),
    ],
)
def test_wrong_usage(place, arguments, reason):
    """A wrong option is a usage error in plain words, and no reply."""
    result = place.run(*arguments, data=request())
    assert (result.returncode, result.stdout) == (2, b"")
    assert reason in result.stderr.decode()


def test_a_setting_behind_the_command():
    """Every command says of every setting that it stands before the command."""
    runner = CliRunner()
    for command in COMMANDS:
        own = {name for option in cli.get_command(None, command).params for name in option.opts}
        for setting in SETTINGS:
            option = f"--{setting.name.replace('_', '-')}"
            arguments = [command, option, "1m", "x"]
            result = runner.invoke(cli, arguments, prog_name="greylist")
            if option not in own:
                assert result.exit_code == 2
                assert f"{option} stands before the command" in result.stderr
                assert f"greylist {option} " in result.stderr
                assert f" {command} ..." in result.stderr


def test_help_in_spite_of_the_settings(place):
    """A mistake in the settings keeps nobody from reading a command's help."""
    place.configure(nonsense="1")
    assert place.run("list").returncode == 2
    result = place.run("list", "--help")
    assert result.returncode == 0
    assert b"Usage: greylist list" in result.stdout


def test_shell_completion(place):
    """The shell completion that click offers is there."""
    place.environment_extra = {"_GREYLIST_COMPLETE": "bash_source"}
    result = place.run()
    assert b"_GREYLIST_COMPLETE=bash_complete" in result.stdout


@pytest.mark.parametrize("arguments", ["list >&-", "load <&-", "explain <&-", "--help >&-"])
def test_closed_streams(place, arguments):
    """What is closed is empty; nothing ends in a traceback."""
    place.run(data=request())
    command = ["sh", "-c", f"exec '{SCRIPT}' {arguments}"]
    done = subprocess.run(command, env=place.environment, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (1 if arguments.startswith(("load", "explain")) else 0)


def test_letters_that_the_terminal_lacks(place):
    """An address is shown as far as there are letters for it, and escaped beyond."""
    place.run(data=request(sender="łukasz@example.com"))
    place.environment_extra["PYTHONIOENCODING"] = "latin-1"
    for options in ([], ["--json"]):
        assert rb"\u0142ukasz@example.com" in place.run("list", *options).stdout


def test_a_directory_for_settings(place):
    """What is no file is named as it was given."""
    done = place.run("--config", str(place.directory), "list")
    assert done.returncode == 2
    assert f"cannot read {place.directory}: not a regular file".encode() in done.stderr


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["list"], 0), (["no"], 2)])
def test_both_outputs_on_one_socket(place, arguments, status):
    """Where both outputs are one socket, as a service's to a log, the exit status is the same."""
    place.run(data=request())
    ours, theirs = socket.socketpair()
    with ours, theirs:
        done = place.start(*arguments, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs)
        assert done.wait(30) == status


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
@pytest.mark.parametrize("arguments", [["list"], ["check"], []], ids=["list", "check", "filter"])
def test_interrupted_while_it_starts(place, arguments):
    """Control-C is no traceback, whatever is being imported then."""
    place.run(data=request())
    trace = place.directory / "trace"

    def run(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["strace", "-qq", "-o", trace, "-e", "trace=openat", *options, SCRIPT, *arguments],
            env={**place.environment, "PYTHONWARNINGS": ""},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )

    run()
    calls = trace.read_text().splitlines()
    # What Python itself opens before the script is not ours to mend.
    first = next(number for number, call in enumerate(calls) if "greylist/__pycache__" in call)
    for number in range(first + 2, len(calls), (len(calls) - first) // 12):
        done = run("-e", f"inject=openat:signal=INT:when={number}")
        assert b"Traceback" not in done.stdout + done.stderr, calls[number - 1]
