"""The units in packaging/systemd: systemd accepts them, and their sandbox lets a filter work."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile

import pytest
from commands.mailhost import place
from conftest import request
from readable import install

from greylist.commands.setup.server import Server

UNITS = ("greylist", "greylist-dump", "greylist-metrics")
EXPOSURE = 20
"""Tenths of the points that systemd-analyze gives: 0 is a wall, 96 a service without a sandbox."""

ANALYZE = shutil.which("systemd-analyze")
pytestmark = pytest.mark.skipif(not ANALYZE, reason="needs systemd-analyze")
PACKAGED = os.path.join(os.path.dirname(__file__), "..", "packaging", "systemd")


def analyze(*arguments):
    """Return what systemd-analyze says; as a user's, it makes nothing below /run."""
    with tempfile.TemporaryDirectory() as runtime:
        done = subprocess.run(
            [ANALYZE, "--user", *arguments],
            env=os.environ | {"XDG_RUNTIME_DIR": runtime},
            capture_output=True,
            text=True,
            check=False,
        )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def text(unit):
    with open(os.path.join(PACKAGED, unit), encoding="utf-8") as file:
        return file.read()


@pytest.mark.parametrize("name", UNITS)
def test_the_sandbox(name):
    """Each unit is as closed as it can be."""
    path = os.path.join(PACKAGED, f"{name}.service")
    analyze("security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE}", path)


def test_systemd_accepts_them(tmp_path):
    """No line of any unit is unknown to systemd, nor what set-up makes of it for other places."""
    os.chmod(tmp_path, 0o755)
    for unit in os.listdir(PACKAGED):
        # Whether the program is there is the package's business.
        (tmp_path / unit).write_text(text(unit).replace("/usr/bin/greylist ", "/bin/true "))
    server = Server(
        "/bin/true", "mailgrey", f"{tmp_path}/50% queue/private/greylist", "/srv/a b/greylist.cf",
        "/srv/50% a b", str(tmp_path),
    )  # fmt: skip
    (tmp_path / "other").mkdir()
    for unit in ("greylist.service", "greylist.socket"):
        (tmp_path / "other" / unit).write_text(server.unit(unit))
    for directory in (tmp_path, tmp_path / "other"):
        units = [directory / unit for unit in os.listdir(directory) if unit != "other"]
        said = analyze("verify", "--man=no", "--recursive-errors=no", *units)
        assert str(tmp_path) not in said, said


def groups():
    """Return systemd's groups of system calls."""
    found, names = {}, set()
    for line in analyze("syscall-filter", "--no-pager").splitlines():
        if line.startswith("@"):
            names = found.setdefault(line.strip(), set())
        elif line.strip() and not line.lstrip().startswith("#"):
            names.add(line.strip())
    return found


def allowed(unit):
    """Return the system calls that a unit allows."""
    known = groups()

    def calls(word):
        return set().union(*map(calls, known[word])) if word in known else {word}

    found = calls("@default")
    for words in re.findall(r"(?m)^SystemCallFilter=(.*)$", text(unit)):
        for word in words.lstrip("~").split():
            found = found - calls(word) if words.startswith("~") else found | calls(word)
    return found


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_no_call_that_a_unit_refuses():
    """A new database, its recovery in a child, a dump and the figures need nothing refused."""
    with place() as path:
        script = install(path) / "greylist"
        owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        (path / "db").mkdir(0o700)
        (path / "trace").mkdir()
        os.chown(path / "db", owner.pw_uid, owner.pw_gid)
        asked = [script, "--database", path / "db" / "greylist.db", "--whitelist", path / "none"]
        used = {}
        for unit, arguments in (
            ("greylist.service", []),
            ("greylist-dump.service", ["dump"]),
            ("greylist-metrics.service", ["metrics"]),
        ):
            trace = path / "trace" / unit
            become = ["-u", "nobody"] if os.geteuid() == 0 else []
            command = ["strace", "-f", "-qq", "-o", trace, *become, *asked, *arguments]
            done = subprocess.run(command, input=request(), capture_output=True, check=False)
            assert not done.returncode, done.stderr
            calls = re.findall(r"(?m)^\d+ +(\w+)\(", trace.read_text())
            used[unit] = set(calls) - allowed(unit)
    assert len(set(calls)) > 20
    assert not any(used.values()), used
