"""The pages show each command with real output: their blocks are run again, and compared."""

from __future__ import annotations

import os
import re
import subprocess
import time

import pytest
from dns_server import Zones, serving
from settled import write

from greylist.cli import COMMANDS

from .mailhost import SCRIPT, Host, place
from .peers import ask, postgrey
from .postfix_files import Spawner, hand_over
from .postfix_files import postfix as write_postfix
from .test_command_replay import story

ROOT = os.path.join(os.path.dirname(__file__), "..", "..")
PAGES = ("README.md", "docs/commands.md")
BLOCK = re.compile(r"^```console\n(\$ greylist .*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"(?m)^\$ ")
VARYING = (
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"\d{4}-\d\d-\d\d$", "DAY"),
    (r"\b\d{10}\b", "SECONDS"),
    (r"\b[\d.]+ [KMGT]iB", "SIZE"),
    (r"\d+s missing", "S missing"),
    (r"in \d+ ms", "in MS"),
    (r"owner \w+", "owner USER"),
    (r" +", " "),
)
HOUR = 3600


def shown(page):
    """Return the commands of a page, each with what it is shown to print."""
    with open(os.path.join(ROOT, page), encoding="utf-8") as file:
        blocks = BLOCK.findall(file.read())
    examples = [part for block in blocks for part in COMMAND.split(block)[1:]]
    return [example.replace("\\\n", "").partition("\n")[::2] for example in examples]


@pytest.fixture
def busy(program):
    """Return a host with a bit of everything, and the paths by which the pages call its files."""
    zones = Zones()
    zones.spf("example.com", "v=spf1 ip4:192.0.2.0/25 include:_spf.example.com -all")
    zones.spf("_spf.example.com", "v=spf1 ip4:198.51.100.0/24 -all")
    with place() as path, serving(zones) as server:
        host, names = furnish(Host(path), program)
        spawner = Spawner(host, program)
        yield host, {**names, "greylist spf": f"greylist spf --server {server}"}
        spawner.close()


def furnish(host, program):
    """Put a bit of everything on a host; return it, and the pages' names of its files."""
    write(
        host.whitelist,
        "# One regular expression a line, on client_address/sender/recipient.\n"
        "/postmaster@\n@example\\.edu/\nfriend.example.com\n",
    )
    now = int(time.time())
    host.put(
        {
            b"192.0.2.0/ann@example.com/bob@example.org": b"%d/%d/001" % (now - 150, now - 90),
            b"192.0.2.0/eve@example.com/carl@example.org": b"%d/0/0" % (now - 30 * HOUR),
            b"198.51.100.0/news@example.net/bob@example.org": b"%d/%d/01"
            % (now - 26 * HOUR, now - 26 * HOUR + 640),
            b"203.0.113.0//carl@example.org": b"%d/%d/03" % (now - 50 * HOUR, now - 2 * HOUR),
            b"203.0.113.0/offer@example.net/bob@example.org": b"%d/0/0" % (now - 60 * HOUR),
            b"/client/198.51.100.0": b"%d/%d/6" % (now - 300 * HOUR, now - HOUR),
            b"/sender/198.51.100.0/news@example.net": b"%d/%d/2" % (now - 26 * HOUR, now - HOUR),
        }
    )
    write_postfix(host, program, argv=f"argv={program} --config {host.config}")
    story().write(host.path / "mail.log")
    directory = host.path / "postgrey"
    directory.mkdir()
    with postgrey(directory) as stream:
        for when in (now - 900, now - 500):
            ask(
                stream,
                client_address="192.0.2.200",
                client_name="mail.example.com",
                sender="dora@example.com",
                recipient="bob@example.org",
                policy_test_time=when,
            )
    hand_over(host)
    return host, {
        "/var/lib/greylist": str(host.database.parent),
        "/etc/postfix/nogreylist": str(host.whitelist),
        "/etc/postfix/greylist.cf": str(host.config),
        "/var/lib/postgrey": str(directory),
        "/var/log/mail.log": str(host.path / "mail.log"),
        "/usr/local/bin/greylist": program,
        "greylist check": f"greylist check --postfix {host.path}/postfix",
    }


def run(host, names, command):
    """Run a shell's line of a page on the host, and return what it prints."""
    for name, real in names.items():
        command = command.replace(name, real)
    environment = {
        **os.environ,
        "GREYLIST_CONFIG": str(host.config),
        "PATH": f"{os.path.dirname(SCRIPT)}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=host.path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    printed = done.stdout.decode()
    for name, real in names.items():
        printed = printed.replace(real, name)
    return printed.strip("\n")


def plain(text):
    """Return output without what differs from run to run."""
    for pattern, word in VARYING:
        text = re.sub(pattern, word, text, flags=re.MULTILINE)
    return "\n".join(line.strip() for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_print_what_is_shown(busy, page):
    """The examples of a page, in turn on one host, print what is shown, times and sizes aside."""
    for command, output in shown(page):
        assert (command, plain(run(*busy, command))) == (command, plain(output.strip("\n")))


@pytest.mark.parametrize("page", PAGES)
def test_each_command_is_shown(page):
    """No command is without an example; setup changes the host, and serve does not end."""
    commands = " ".join(command for command, _ in shown(page))
    assert [
        name for name in COMMANDS if not re.search(rf"greylist (?:--\S+ \S+ )*{name}\b", commands)
    ] == ["setup", "serve"]
