"""``greylist replay``: on logs with every form of line."""

from __future__ import annotations

import bz2
import calendar
import gzip
import json
import lzma
import os
import shutil
import subprocess
import sys
import time

import pytest

PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
START = calendar.timegm((2026, 11, 2, 10, 0, 0))


class Log:
    """Writes a mail log as Postfix does."""

    def __init__(self, iso=False):
        self.lines = []
        self.iso = iso
        self.queue = 0

    def line(self, seconds, agent, text):
        """Add a line of one of Postfix's programs."""
        moment = time.gmtime(START + seconds)
        if self.iso:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.123456+00:00", moment)
        else:
            stamp = time.strftime("%b %d %H:%M:%S", moment).replace(" 0", "  ", 1)
        self.lines.append(f"{stamp} mx postfix/{agent}[123]: {text}\n")

    def deferred(self, seconds, client, *mail, text="Greylisted", code="450 4.2.0"):
        """Add the lines of a recipient that was refused."""
        sender, recipient = mail
        self.line(seconds, "smtpd", f"connect from {client}")
        self.line(
            seconds,
            "smtpd",
            f"NOQUEUE: reject: RCPT from {client}: {code} <{recipient}>: Recipient address "
            f"rejected: {text}; from=<{sender}> to=<{recipient}> proto=ESMTP helo=<mail>",
        )

    def accepted(self, seconds, client, sender, *recipients, more="", original=""):
        """Add the lines of a message that was accepted and delivered."""
        self.queue += 1
        name = f"4ABC{self.queue}" if self.queue % 2 else f"{self.queue:X}F"
        self.line(seconds, "smtpd", f"{name}: client={client}{more}")
        self.line(seconds, "cleanup", f"{name}: message-id=<x@y>")
        self.line(seconds + 1, "qmgr", f"{name}: from=<{sender}>, size=1, nrcpt=1 (queue active)")
        for recipient in recipients:
            for status in ("deferred (busy)", "sent (250 ok)"):
                self.line(
                    seconds + 2,
                    "lmtp",
                    f"{name}: to=<{recipient}>, {original}relay=x[/y], delay=0.1, "
                    f"delays=0/0/0/0, dsn=2.0.0, status={status}",
                )
        self.line(seconds + 3, "qmgr", f"{name}: removed")

    def write(self, path, changed=START + 20 * 86400):
        """Write the log, last changed at this time."""
        data = "".join(self.lines).encode()
        path.write_bytes(PACK.get(path.suffix, bytes)(data))
        os.utime(path, (changed, changed))
        return path


MAIL, POOL = "mail.example.com[192.0.2.7]", "unknown[198.51.100.9]:2525"
ANN, BOB, CARL = "ann@example.com", "bob@example.org", "carl@example.org"


def story(iso=False):
    """Return a log with a delivery of each kind."""
    log = Log(iso)
    log.deferred(0, MAIL, ANN, BOB)
    log.deferred(120, MAIL, ANN, BOB)
    log.accepted(700, MAIL, ANN, BOB)
    log.accepted(3600, MAIL, ANN, BOB)
    log.accepted(4000, MAIL, ANN, CARL, "dora@example.org")
    log.deferred(5000, POOL, "spam@example.net", BOB)
    log.accepted(6000, "localhost[127.0.0.1]", ANN, "filtered@example.org")
    log.accepted(6100, POOL, ANN, CARL, more=", sasl_method=PLAIN, sasl_username=ann")
    log.deferred(6200, MAIL, ANN, "x@example.org", text="unverified address: busy")
    log.deferred(6300, MAIL, ANN, "y@example.org", code="554 5.7.1")
    log.line(6400, "pickup", "9F: uid=0 from=<root>")
    log.line(6400, "qmgr", "9F: from=<root@example.org>, size=1, nrcpt=1 (queue active)")
    log.line(6400, "local", "9F: to=<root@example.org>, relay=local, status=sent (ok)")
    log.accepted(7000, MAIL, "", "list@example.org", original="orig_to=<alias@example.org>, ")
    log.deferred(10 * 86400, POOL, "late@example.net", BOB)
    return log


def replayed(host, *arguments, **options):
    return json.loads(host.run("replay", "--json", *arguments, **options).stdout)


@pytest.mark.parametrize(
    "name", ["mail.log", "mail.log.gz", "mail.log.bz2", "mail.log.xz", "iso.log"]
)
def test_each_kind_of_delivery_is_told_apart(host, name):
    """Plain or packed, in either form of time: the same deliveries, the same outcome."""
    path = story(iso=name == "iso.log").write(host.path / name)
    host.configure("delay = 300", "auto_whitelist = 0", "auto_whitelist_senders = 0")
    result = replayed(host, path)
    assert (result["from"], result["to"]) == (START, START + 10 * 86400)
    assert (result["attempts"], result["deliveries"]) == (9, 7)
    outcome = result["outcomes"][0]
    assert outcome["at_once"] == 1
    assert (outcome["delayed"], outcome["p50"]) == (1, 700)
    assert outcome["unknown"] == 3
    assert (outcome["never"], outcome["open"]) == (1, 1)
    assert outcome["clients"] == [["mail.example.com", 5, 4, 700]]


def test_settings_make_the_difference(host):
    """A longer delay turns the retry down that the log accepted; a whitelist spares all."""
    path = story().write(host.path / "mail.log")
    host.configure("delay = 15m", "auto_whitelist = 0", "auto_whitelist_senders = 0")
    other = host.path / "other.cf"
    spared = host.path / "spared"
    spared.write_text("@example\\.com/\n^192\\.0\\.2\\.\n")
    other.write_text(f"whitelist = {spared}\nauto_whitelist = 0\n")
    strict, lax = replayed(host, path, "--compare", other)["outcomes"]
    assert (strict["at_once"], strict["delayed"], strict["unknown"]) == (1, 0, 4)
    assert (lax["at_once"], lax["delayed"], lax["unknown"]) == (5, 0, 0)
    shown = host.run("replay", path, "--compare", other).stdout
    assert "greylist.cf  other.cf" in shown
    assert "Clients that suffer most, greylist.cf:" in shown


def test_logs_come_in_any_order(host):
    """Rotated logs are put in order by the time they were last written to."""
    whole = story()
    old, new = Log(), Log()
    old.lines, new.lines = whole.lines[:3], whole.lines[3:]
    first = old.write(host.path / "mail.log.2.gz", START + 130)
    second = new.write(host.path / "mail.log")
    host.configure("auto_whitelist = 0")
    assert replayed(host, second, first) == replayed(host, whole.write(host.path / "whole"))


def test_nothing_is_stored(host):
    """The scratch database is thrown away, and none is made."""
    host.run("replay", story().write(host.path / "mail.log"))
    assert not host.database.exists()


def test_a_log_without_mail(host):
    """Exit status 1, and a word on standard error."""
    path = host.path / "empty.log"
    path.write_text("Nov  2 10:00:00 mx kernel: hello\n")
    assert "no mail" in host.run("replay", path, code=1).stderr


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_broken_archive_is_named(host, suffix):
    """A packed file that is cut short or damaged is a message, not a traceback."""
    path = story().write(host.path / f"mail.log{suffix}")
    data = path.read_bytes()
    for broken in (data[:-20], data[:60] + b"what" + data[64:]):
        path.write_bytes(broken)
        assert str(path) in host.run("replay", path, code=1).stderr


def test_a_packed_log_on_standard_input(host):
    """What is packed is unpacked wherever it comes from."""
    whole = replayed(host, story().write(host.path / "mail.log"))
    packed = story().write(host.path / "mail.log.gz").read_bytes()
    assert json.loads(host.script("replay", "--json", "-", input=packed).stdout) == whole


def test_a_log_in_which_nothing_is_understood(host):
    """A file that is no mail log is called so, with its first line, whose controls are shown."""
    path = host.path / "other.log"
    path.write_bytes(b"\x1b[2Jsomething else\n\x07\n")
    said = host.run("replay", path, code=1).stderr
    assert f"{path}: no line has the form of Postfix's log; its first line is: " in said
    assert "something else" in said
    assert "\x1b" not in said


def test_lines_that_are_not_understood_are_counted(host):
    """Beside lines that are, the others are counted, and the first one shown with the reason."""
    log = story()
    log.lines.insert(2, log.lines[1].replace("Nov  2", "nov. 2"))
    log.lines.insert(2, log.lines[2].replace("nov. 2", "Feb 30"))
    path = log.write(host.path / "mail.log")
    said = host.run("replay", path).stderr
    assert "2 lines were not understood, first line 3: Feb 30" in said
    assert "no such date" in said
    result = replayed(host, path)
    assert (result["not_understood"], result["lines"]) == (2, len(log.lines))
    assert result["attempts"] == 9


def test_a_log_without_dates(host):
    """What journalctl -o cat prints has no time: replay says what to print instead."""
    text = "".join(line.split("]: ", 1)[1] for line in story().lines)
    said = host.run("replay", "-", input=text, code=1).stderr
    assert "standard input: no line has the form of Postfix's log" in said
    assert "-o short-iso" in said


ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="zstd is not installed")
def test_a_log_that_zstd_packed(host):
    """The program unpacks it, from a file or from standard input; what is cut short is named."""
    path = story().write(host.path / "mail.log")
    packed = host.path / "mail.log.zst"
    subprocess.run(["zstd", "-q", path, "-o", packed], check=True)
    whole = replayed(host, path)
    assert replayed(host, packed) == whole
    assert json.loads(host.script("replay", "--json", "-", input=packed.read_bytes()).stdout)
    packed.write_bytes(packed.read_bytes()[:-30])
    assert str(packed) in host.run("replay", packed, code=1).stderr


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="this Python unpacks zstd itself")
def test_a_packed_log_that_nothing_here_unpacks(host, monkeypatch):
    """A file packed with something that is not installed says with what."""
    path = host.path / "mail.log.zst"
    path.write_bytes(ZSTD + b"x" * 100)
    monkeypatch.setenv("PATH", str(host.path))
    said = host.run("replay", path, code=1).stderr
    assert "packed with zstd, which is not installed here" in said


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"PK\x03\x04", "zip archive"),
        (b"LPKSHHRH", "journalctl"),
        (b"\xff\xfeN\0o\0v\0", "UTF-16"),
        (bytes(257) + b"ustar", "tar archive"),
    ],
)
def test_a_file_that_is_no_log(host, start, words):
    """Other formats are named, packed or not."""
    for name in ("mail.log", "mail.log.gz"):
        path = host.path / name
        path.write_bytes(PACK.get(path.suffix, bytes)(start + bytes(300)))
        assert words in host.run("replay", path, code=1).stderr


def test_copied_logs_are_put_in_order(host):
    """The times in the logs tell their order where those of the files are lost."""
    whole = story()
    old, new = Log(), Log()
    old.lines, new.lines = whole.lines[:11], whole.lines[11:]
    now = START + 20 * 86400
    first = old.write(host.path / "mail.log.1", now + 2)
    second = new.write(host.path / "mail.log", now)
    host.configure("auto_whitelist = 0")
    expected = replayed(host, whole.write(host.path / "whole"))
    assert replayed(host, second, first) == expected
    assert replayed(host, first, first, second)["lines"] == len(whole.lines)


def test_mynetworks_are_left_out(host):
    """Clients that Postfix lets through before it asks are no deliveries, and are counted."""
    path = story().write(host.path / "mail.log")
    result = replayed(host, path, "--mynetworks", "!192.0.2.7 192.0.2.0/24, 198.51.100.0/24")
    assert result["left_out"] == {"mynetworks": 3, "login": 1, "untold": 0}
    assert result["attempts"] == 7
    said = host.run("replay", path, "--mynetworks", "192.0.2.0/24 198.51.100.9", code=1).stderr
    assert "no mail from outside" in said
    assert "10 from this machine and mynetworks" in said


def test_postconf_tells_mynetworks(host, monkeypatch):
    """Without the option, the Postfix of this machine is asked, and whom it copies all mail."""
    program = host.path / "postconf"
    program.write_text(
        "#!/bin/sh\necho 'always_bcc = dora@example.org'\necho 'mynetworks = 198.51.100.0/24'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{host.path}:{os.environ['PATH']}")
    result = replayed(host, story().write(host.path / "mail.log"))
    assert result["left_out"]["mynetworks"] == 3
    assert result["attempts"] == 6
