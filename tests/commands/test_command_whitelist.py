"""``greylist whitelist``: how lines are used."""

from __future__ import annotations

import json

import pytest

from .test_command_replay import ANN, BOB, MAIL, POOL, START, Log, story


def used(host, *arguments, **options):
    """Return the matches and the last time, in seconds since the log's start, of each line."""
    shown = host.run("whitelist", "--json", *arguments, **options).stdout
    found = [json.loads(line) for line in shown.splitlines()]
    return {use["text"]: (use["matches"], use["last"] and use["last"] - START) for use in found}


@pytest.fixture
def log(host, monkeypatch):
    """Return a log with mail of two clients."""
    monkeypatch.setenv("TZ", "UTC")
    log = Log(iso=True)
    log.deferred(0, MAIL, ANN, BOB)
    log.accepted(700, MAIL, ANN, BOB, "carl@example.org")
    log.accepted(3600, POOL, "news@example.net", BOB)
    log.deferred(4000, "unknown[2001:db8::7]", "", "Postmaster@example.org")
    log.accepted(5000, "localhost[127.0.0.1]", ANN, BOB)
    return log.write(host.path / "mail.log")


def test_each_line(host, log):
    """Each line is counted alone: of every attribute that logs tell, and of the whole subject."""
    lines = [
        r"client_name=^mail\.example\.com$",
        r"client_name=\.example\.(com|net)$",
        "client_name=unknown",
        "client_address=192.0.2.0/24",
        "client_address=2001:db8::/32",
        "client_address=127.0.0.1",
        r"sender=@example\.net$",
        "sender=^$",
        "recipient=^postmaster@",
        "recipient=^carl@",
        "sasl_username=.",
        r"^192\.0\.2\.",
        "/BOB@",
        "@nobody/",
    ]
    host.whitelist.write_text("# list\n\n" + "\n".join(lines) + "\n(\n")
    found = used(host, log)
    assert list(found) == lines
    mail = MAIL.split("[")[0]
    assert mail == "mail.example.com"
    assert found[lines[0]] == (3, 700)
    assert found["client_name=unknown"] == (0, None)
    assert found["client_address=2001:db8::/32"] == (1, 4000)
    assert found["client_address=127.0.0.1"] == (0, None)
    assert found[r"sender=@example\.net$"] == (1, 3600)
    assert found["sender=^$"] == (1, 4000)
    assert found["recipient=^postmaster@"] == (1, 4000)
    assert found["recipient=^carl@"] == (1, 700)
    assert found["sasl_username=."] == (None, None)
    assert found["/BOB@"] == (3, 3600)
    assert found["@nobody/"] == (0, None)


def test_every_list(host, log):
    """The lists of clients and recipients are looked at too; one that is missing has no lines."""
    names = ("clients", "recipients", "only", "never")
    clients, recipients, only, never = (host.path / name for name in names)
    clients.write_text("example.com\n203.0.113.0/24 # spare\nclient_address=2001:db8::7\n")
    recipients.write_text("carl@\n")
    only.write_text("example.org\n")
    never.write_text(r"client_name=^mail\.")
    host.whitelist.unlink()
    host.configure(
        f"whitelist_clients = {clients} {host.path}/missing.local",
        f"whitelist_recipients = {recipients}",
        f"greylist_recipients = {only}",
        f"never_trust = {never}",
        f"own_clients = {never}",
    )
    found = used(host, log)
    assert found["client_address=2001:db8::7"] == (1, 4000)
    assert found["carl@"] == (1, 700)
    assert found["example.org"][0] == 5
    assert found[r"client_name=^mail\."] == (3, 700)
    assert len(found) == 6


def test_table(host, log):
    """People see where each line stands, and when it last matched; --unused shows the others."""
    host.whitelist.write_text("# list\nrecipient=^carl@\n@nobody/\nsize=0\n")
    shown = host.run("whitelist", log).stdout.splitlines()
    assert shown[0].endswith(": 5 attempts")
    assert shown[1] == "left out: 1 from this machine and mynetworks"
    rows = [line.split() for line in shown[3:]]
    where = str(host.whitelist)
    assert rows[0] == ["MATCHES", "LAST", "WHERE", "LINE"]
    assert rows[1] == ["1", "2026-11-02", "10:11:40", f"{where}:2", "recipient=^carl@"]
    assert rows[2] == ["0", "never", f"{where}:3", "@nobody/"]
    assert rows[3] == ["-", f"{where}:4", "size=0"]
    unused = host.run("whitelist", "--unused", log).stdout
    assert "@nobody/" in unused
    assert "carl" not in unused
    assert "size" not in unused


def test_no_line(host, log):
    """A list without lines has no table."""
    host.whitelist.write_text("# nobody\n")
    assert host.run("whitelist", log).stdout.count("\n") == 2


def test_no_mail(host):
    """Without mail from outside there is nothing to say, and status 1."""
    path = host.path / "mail.log"
    path.write_text("")
    result = host.run("whitelist", path, code=1)
    assert "no mail from outside" in result.stderr
    assert result.stdout == ""


def test_an_older_log(host):
    """The classic form of lines, and packed ones, are read by the reader of replay."""
    host.whitelist.write_text("@example\\.com/\n")
    ((matches, _),) = used(host, story().write(host.path / "mail.log.gz")).values()
    assert matches == 6


def test_spellings(host, log):
    """A recipient is looked at in each form that Postfix may take it for, as in the policy."""
    host.whitelist.write_text("recipient=^bob@example\\.org$\n/bob@example.org$\n")
    with log.open("a") as file:
        spelled = Log(iso=True)
        spelled.deferred(6000, MAIL, ANN, "bob%example.org@example.net")
        file.write("".join(spelled.lines))
    assert used(host, log) == {
        "recipient=^bob@example\\.org$": (4, 6000),
        "/bob@example.org$": (4, 6000),
    }
