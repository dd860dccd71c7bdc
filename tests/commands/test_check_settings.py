"""``greylist check`` on the settings, read as the filter reads them and as its user."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from .postfix_files import hand_over, postfix
from .test_command_check import sound  # noqa: F401 - a fixture

pytestmark = pytest.mark.usefixtures("sound")


def settings(host, *arguments, code=None):
    """Return what is found in the settings and lists that is not well: level, text, remedy."""
    command = [*arguments, "check", "--json", "--postfix", host.path / "postfix"]
    found = json.loads(host.run(*command, code=code).stdout)["findings"]
    return [
        (f["level"], f["text"], f["remedy"])
        for f in found
        if f["level"] != "ok"
        and f["subject"] in {"settings", "whitelist", "greylist_recipients", "recipients"}
    ]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_a_mark_and_a_lone_carriage_return(host, mark):
    """What begins with the mark of UTF-8 or has a lone carriage return reads as in the filter."""
    host.config.write_bytes(mark + b"delay = 10m\nreply = A\rB\n" + host.config.read_bytes())
    [(level, text, _)] = settings(host)
    assert (level, text[:20]) == ("error", f"{host.config}:2"[:20])
    assert "printable ASCII" in text
    assert ":2: " in text


@pytest.mark.parametrize("name", ["config", "whitelist"])
def test_a_fifo_hangs_nobody(host, name):
    """A FIFO is no regular file, for check as for the filter."""
    path = getattr(host, name)
    path.unlink()
    os.mkfifo(path)
    assert "not a regular file" in settings(host, "--database", host.database, code=1)[0][1]


def repair(remedy):
    """Run the commands of a remedy."""
    for line in remedy.splitlines():
        subprocess.run(["sh", "-ec", line], check=True)


@pytest.mark.root
@pytest.mark.parametrize("closed", ["file", "directory", "both"])
def test_settings_that_the_filter_cannot_read(host, program, closed):
    """The file is read as the user whom master.cf names; each remedy printed opens it, no more."""
    private = host.path / "private"
    private.mkdir(mode=0o755)
    host.config = host.config.rename(private / "greylist.cf")
    postfix(host, program, argv=f"argv={program} --config {host.config}")
    if closed != "directory":
        host.config.chmod(0o600)
    if closed != "file":
        private.chmod(0o700)
    [(level, text, remedy)] = settings(host, code=1)
    assert (level, text.partition(":")[0]) == ("error", str(host.config))
    repair(remedy)
    assert settings(host) == []


@pytest.mark.parametrize(("mode", "words"), [("off", "nobody"), ("learn", "let through")])
def test_a_mode_is_said(host, program, mode, words):
    """Whoever forgot mode = off reads it, from greylist.cf or from master.cf."""
    host.configure(f"mode = {mode}")
    assert [words in text for _, text, _ in settings(host)] == [True]
    host.configure()
    postfix(host, program, argv=f"argv={program} --config {host.config} --mode {mode}")
    assert [words in text for _, text, _ in settings(host)] == [True]


@pytest.mark.parametrize("reply", ["Service unavailable", "450 4.7.1 Access denied"])
def test_a_reply_that_gets_clients_banned(host, reply):
    """A text that intrusion filters know is a warning, and the remedy is another text."""
    host.configure(f"reply = {reply.replace('450 ', '')}")
    [(level, _, remedy)] = settings(host)
    assert level == "warning"
    host.configure(remedy.splitlines()[-1])
    assert settings(host) == []


def test_no_list_of_recipients(host):
    """An empty list of who is greylisted greylists nobody, so touch(1) would mend nothing."""
    path = host.path / "only"
    host.configure(f"greylist_recipients = {path}")
    [(_, text, remedy)] = settings(host, code=1)
    assert "nobody is greylisted" in text
    assert "touch" not in remedy
    path.touch()
    assert "names nobody" in settings(host, code=1)[0][1]
    path.write_text("example.org\n")
    assert settings(host) == []


@pytest.mark.parametrize(
    ("main", "ours", "words"),
    [
        ("mydestination = example.org", "", ""),
        ("mydestination = hash:/etc/x", "", "does not look into"),
        ("mydestination = $myhostname, example.org", "mydestination = example.org", "not as in"),
        ("mydestination = Example.org", "mydestination = example.org", ""),
        ("recipient_delimiter = -", "mydestination = $$", "is -: an address"),
        ("recipient_delimiter = -", "", ""),
    ],
)
def test_spellings_of_recipients(host, program, main, ours, words):
    """What the list of who is greylisted has to know of Postfix is compared with what it knows."""
    path = host.path / "only"
    path.write_text("b@example.org\n")
    postfix(host, program, more=main)
    ours = ours.replace("$$", "mx.example.org localhost.example.org localhost")
    host.configure(f"greylist_recipients = {path}\n{ours}")
    found = settings(host)
    assert [words in text for _, text, _ in found] == ([True] if words else [])
    host.configure(ours)
    assert settings(host) == []


@pytest.mark.parametrize("form", ["argv={} --config {}", "argv=env GREYLIST_CONFIG={1} {0}"])
def test_the_settings_of_master_cf(host, program, form, monkeypatch):
    """What argv names is looked at; commands that look elsewhere are told so."""
    other = host.path / "other.cf"
    other.write_text(host.config.read_text() + "mode = off\n")
    postfix(host, program, argv=form.format(program, other))
    found = settings(host)
    assert f"reads {other} (master.cf)" in found[0][1]
    monkeypatch.delenv("GREYLIST_CONFIG", raising=False)
    host.config = other
    [(_, text, _)] = settings(host)
    assert "mode = off" in text


def test_the_database_of_master_cf(host, program):
    """A database that only master.cf names is the one that is looked at."""
    other = host.path / "db" / "other.db"
    postfix(host, program, argv=f"argv={program} --config {host.config} --database {other}")
    hand_over(host)
    result = host.run("check", "--postfix", host.path / "postfix", code=None)
    assert f"no {other} yet" in result.stdout
    [(level, text, _)] = settings(host)
    assert (level, f"--database {other}" in text) == ("warning", True)
    assert settings(host, "--database", other) == []
