"""``greylist import``, from databases that the real services have just made."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import time

import pytest
from bsddb3 import db
from readable import NOBODY

from greylist.commands.importers import greylist_pl, postgrey
from greylist.settings import Settings
from greylist.triplet import Triplet

from . import peers
from .mailhost import NOW, SCRIPT


def imported(host, path, *options, code=0):
    return json.loads(host.run("import", "--json", path, *options, code=code).stdout)


def test_postgrey_is_taken_over(host, tmp_path):
    """Triplets and clients of the real postgrey, asked real requests, are ours afterwards."""
    directory = tmp_path / "postgrey"
    directory.mkdir()
    with peers.postgrey(directory) as stream:
        for client in ("192.0.2.7", "2001:db8:1:2::3"):
            for sender in ("Ann@example.com", "", "bounces-123@example.com", "a/b@example.com"):
                mail = {
                    "client_address": client,
                    "client_name": "mail.example.com",
                    "sender": sender,
                    "recipient": "bob@example.org",
                }
                for when in (NOW - 900, NOW - 500):
                    action = peers.ask(stream, **mail, policy_test_time=when)
                assert not action.startswith("DEFER")
        mail["client_address"] = "198.51.100.9"
        peers.ask(stream, **mail, policy_test_time=NOW - 60)
        mail["client_address"] = "203.0.113.9"
        peers.ask(stream, **mail, policy_test_time=NOW - 40 * 86400)
    result = imported(host, directory)
    assert result == {
        "service": "postgrey",
        "triplets": 9,
        "senders": 8,
        "clients": 2,
        "expired": 1,
        "hashed": 0,
        "wide": 0,
        "masked": 0,
        "domains": 0,
        "listed": 0,
        "traps": 0,
        "optin": 0,
        "optout": 0,
        "unknown": 0,
        "added": 19,
    }
    stored = host.all()
    passed = Triplet(NOW - 900, NOW - 500, 2, passed=True).pack()
    assert stored[b"192.0.2.0/ann@example.com/bob@example.org"] == passed
    assert stored[b"192.0.2.0//bob@example.org"] == passed
    assert stored[b"2001:db8:1:2::/a%2fb@example.com/bob@example.org"] == passed
    assert stored[b"198.51.100.0/a%2fb@example.com/bob@example.org"] == b"%d/0/0" % (NOW - 60)
    once = Triplet(NOW - 900, NOW - 500, 1).pack()
    assert stored[b"/client/192.0.2.0"] == once
    assert stored[b"/sender/192.0.2.0/ann@example.com"] == once
    assert imported(host, directory)["unchanged"] == 19


def test_a_client_that_postgrey_knew_is_not_delayed_again(host, tmp_path):
    """After the import, the filter lets the known triplet through at once, and others of his."""
    directory = tmp_path / "postgrey"
    directory.mkdir()
    mail = {
        "client_address": "192.0.2.7",
        "client_name": "mail.example.com",
        "sender": "list-return-77-joe=example.org@example.com",
        "recipient": "bob@example.org",
    }
    now = int(subprocess.check_output(["date", "+%s"]))
    with peers.postgrey(directory) as stream:
        for when in (now - 900, now - 500):
            peers.ask(stream, **mail, policy_test_time=when)
    assert host.script("import", directory).returncode == 0
    for changes, action in (
        ({}, b"dunno"),
        ({"recipient": "dora@example.org"}, b"dunno"),
        ({"sender": "eve@example.com"}, b"defer_if_permit"),
    ):
        request = "".join(f"{name}={value}\n" for name, value in (mail | changes).items())
        answer = host.script(input=f"request=smtpd_access_policy\n{request}\n".encode())
        assert answer.stdout.startswith(b"action=" + action)


def test_hashed_keys_are_refused_clearly(host, tmp_path):
    """From postgrey --privacy nothing can be taken over, and the message says why."""
    directory = tmp_path / "postgrey"
    directory.mkdir()
    with peers.postgrey(directory, "--privacy") as stream:
        for when in (NOW - 900, NOW - 500):
            peers.ask(
                stream,
                client_address="192.0.2.7",
                client_name="mail.example.com",
                sender="a@example.com",
                recipient="bob@example.org",
                policy_test_time=when,
            )
    result = host.run("import", directory, code=1)
    assert "2  left out: hashed keys" in result.stdout
    assert "all keys are hashed (postgrey --privacy)" in result.stderr
    assert not host.database.exists()


def test_sqlgrey_is_taken_over(host, tmp_path, monkeypatch):
    """The three tables of the real sqlgrey, asked real requests."""
    monkeypatch.undo()
    with peers.sqlgrey(tmp_path) as stream:

        def ask(client, sender, name="mail.example.com"):
            return peers.ask(
                stream,
                client_address=client,
                client_name=name,
                helo_name=name,
                sender=sender,
                recipient="bob@example.org",
            )

        attempts = [
            ("192.0.2.7", "ann@example.com"),
            ("192.0.2.7", "carl@example.com"),
            ("2001:db8:1:2::3", "dora@example.net"),
        ]
        for attempt in attempts:
            ask(*attempt)
        ask("198.51.100.9", "eve@example.com")
        ask("203.0.113.9", "", name="unknown")
        time.sleep(1.1)  # sqlgrey counts in seconds, and has no clock but the kernel's
        for attempt in attempts:
            assert ask(*attempt).startswith("PREPEND")
    result = imported(host, tmp_path / "sqlgrey.db")
    assert {name: result[name] for name in ("service", "triplets", "clients", "unknown")} == {
        "service": "sqlgrey",
        "triplets": 2,
        "clients": 3,
        "unknown": 0,
    }
    stored = host.all()
    assert set(stored) == {
        b"198.51.100.0/eve@example.com/bob@example.org",
        b"203.0.113.0//bob@example.org",
        b"/client/192.0.2.0",
        b"/client/2001:db8:1:2::",
        b"/client/example.com",
        b"/sender/2001:db8:1:2::/dora@example.net",
        b"/sender/example.com/@example.com",
    }
    assert stored[b"/client/192.0.2.0"].endswith(b"/2")
    assert stored[b"/client/2001:db8:1:2::"].endswith(b"/1")


def test_the_later_greylist_pl_is_taken_over(host, tmp_path):
    """Its values are ours already; its clients become networks."""
    path = tmp_path / "pl.db"
    peers.perl_database(
        path,
        {
            "192.0.2.7/a@example.com/b@example.org": f"{NOW - 900}/{NOW - 90}/3",
            "192.0.2.8/a@example.com/b@example.org": f"{NOW - 800}/{NOW - 10}/1",
            "nonsense": "1/2/3",
        },
    )
    result = imported(host, path)
    assert (result["triplets"], result["unknown"], result["merged"]) == (2, 1, 1)
    once = Triplet(NOW - 900, NOW - 10, 1).pack()
    assert host.all() == {
        b"192.0.2.0/a@example.com/b@example.org": Triplet(NOW - 900, NOW - 10, 3, True).pack(),
        b"/sender/192.0.2.0/a@example.com": once,
        b"/client/192.0.2.0": once,
    }


def test_the_first_greylist_pl_is_taken_over(host, tmp_path):
    """What was old enough would have passed there, and passes here; its counts are trust."""
    path = tmp_path / "pl.db"
    peers.perl_database(
        path,
        {
            "192.0.2.7/a@example.com/b@example.org": str(NOW - 900),
            "192.0.2.7/c@example.com/b@example.org": str(NOW - 60),
            "198.51.100.1": "12",
        },
    )
    os.utime(path, (NOW, NOW))
    assert imported(host, path)["added"] == 5
    once = Triplet(NOW - 900, NOW - 600, 1).pack()
    passed = Triplet(NOW - 900, NOW - 600, 2, passed=True).pack()
    assert host.all() == {
        b"192.0.2.0/a@example.com/b@example.org": passed,
        b"192.0.2.0/c@example.com/b@example.org": Triplet(NOW - 60).pack(),
        b"/sender/192.0.2.0/a@example.com": once,
        b"/client/192.0.2.0": once,
        b"/client/198.51.100.0": Triplet(NOW, count=12).pack(),
    }
    assert host.run("list", "--state", "trusted").stdout.count("198.51.100.0") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"x" * 5000, "of no service that is known here"),
        (b"SQLite format 3\0" + b"x" * 5000, "file is not a database"),
    ],
)
def test_what_is_no_database_is_refused(host, tmp_path, content, words):
    """A file of no known service is left alone."""
    path = tmp_path / "file"
    path.write_bytes(content)
    assert words in host.run("import", path, code=1).stderr
    assert words in host.run("import", path, "--dry-run", code=1).stderr


def test_a_dry_run_takes_nothing(host, tmp_path):
    """The summary comes, and no database is made."""
    path = tmp_path / "pl.db"
    peers.perl_database(path, {"192.0.2.7/a@example.com/b@example.org": f"{NOW - 9}/0/0"})
    assert "1  triplets" in host.run("import", path, "--dry-run").stdout
    assert not host.database.exists()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (b"c/s@x/r@y", (b"c", b"s@x", b"r@y")),
        (b"c//r@y", (b"c", b"", b"r@y")),
        (b"c/a/b@x/r@y", (b"c", b"a/b@x", b"r@y")),
        (b"c/s@x/r/q@y", (b"c", b"s@x", b"r/q@y")),
        (b"c/s/postmaster", (b"c", b"s", b"postmaster")),
        (b"c/s", None),
        (b"/s/r", None),
        (b"c", None),
    ],
)
def test_a_key_without_escapes_is_taken_apart(name, parts):
    """Slashes in senders and recipients are told from those between them by the ``@``."""
    assert postgrey.split(name) == parts


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"a/b/c", b""),
        (b"a/b/c", b"0"),
        (b"a/b/c", b"x,y"),
        (b"192.0.2.1", b"0,0"),
        (b"192.0.2.1", b"x"),
        (b"example", b"1,2"),
        (b"", b""),
    ],
)
def test_an_entry_that_is_none_is_counted_as_such(name, value):
    """What is not understood is left out, and named."""
    for row in (
        postgrey.translate(name, value, Settings()),
        greylist_pl.translate(name, value, Settings(), NOW),
    ):
        assert (row.kind, row.key) == ("unknown", b"")
        assert name in row.origin


def test_a_row_of_sqlgrey_that_is_none(host, tmp_path):
    """Any bytes can be a sender, and a row without what it needs stops no other."""
    path = tmp_path / "sqlgrey.db"
    with contextlib.closing(sqlite3.connect(path)) as tables:
        tables.execute("CREATE TABLE connect (sender_name, sender_domain, src, rcpt, first_seen)")
        tables.execute("CREATE TABLE from_awl (src, last_seen)")
        tables.execute("CREATE TABLE domain_awl (src, last_seen)")
        first = NOW - 60
        for row in (
            ("CAST(X'6aff6f65' AS TEXT)", "'example.com'", "'192.0.2'", "'b@example.org'", first),
            ("'a'", "'example.com'", "NULL", "'b@example.org'", first),
            ("'a'", "'example.com'", "'192.0.2'", "'b@example.org'", "'soon'"),
        ):
            tables.execute(f"INSERT INTO connect VALUES ({', '.join(map(str, row))})")
        tables.execute("INSERT INTO from_awl VALUES (NULL, 1)")
        tables.commit()
    result = imported(host, path)
    assert (result["triplets"], result["unknown"]) == (1, 3)
    assert host.all() == {b"192.0.2.0/j\xffoe@example.com/b@example.org": b"%d/0/0" % first}


def test_a_log_that_cannot_be_read(host, tmp_path):
    """What lies beside a database and cannot be copied is named."""
    path = tmp_path / "pl.db"
    peers.perl_database(path, {"192.0.2.7/a@example.com/b@example.org": f"{NOW - 9}/0/0"})
    (tmp_path / "log.0000000001").mkdir()
    assert "log.0000000001: not a regular file" in host.run("import", path, code=1).stderr


def test_the_delay_in_postgrey_is_not_known(host):
    """What passed there counts as passed, and among no delays."""
    weeks = 21 * 86400
    name, value = b"192.0.2.0/a@example.com/b@example.org", b"%d,%d" % (NOW - weeks, NOW)
    row = postgrey.translate(name, value, Settings())
    host.put({row.key: row.entry.pack()})
    stats = json.loads(host.run("stats", "--json").stdout)
    assert (stats["states"]["passed"], stats["delays"]["triplets"]) == (1, 0)


def theirs(path):
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)


@pytest.mark.root
def test_root_reads_another_users_database_as_that_user(host, tmp_path):
    """Libdb recovers from a log that its owner may have made to harm; so root is not root then."""
    environment = db.DBEnv()
    flags = db.DB_INIT_TXN | db.DB_INIT_MPOOL | db.DB_INIT_LOG | db.DB_INIT_LOCK | db.DB_CREATE
    directory = tmp_path / "theirs"
    directory.mkdir()
    environment.open(str(directory), flags)
    database = db.DB(environment)
    database.open("pl.db", dbtype=db.DB_BTREE, flags=db.DB_CREATE | db.DB_AUTO_COMMIT)
    database.put(b"192.0.2.7/a@example.com/b@example.org", b"%d/0/0" % (NOW - 9))
    database.close()
    environment.close()
    for path in (directory, *directory.iterdir()):
        theirs(path)
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-qq", "-o", trace, "-e", "trace=openat,setresuid,setreuid"]
    command += [SCRIPT, "import", directory / "pl.db"]
    environment = {**os.environ, "GREYLIST_CONFIG": str(host.config)}
    subprocess.run(command, env=environment, check=True)
    calls = trace.read_text().splitlines()
    opened = [number for number, call in enumerate(calls) if "/log.0000000001" in call]
    users = [
        number for number, call in enumerate(calls) if f"setresuid(-1, {NOBODY.pw_uid}" in call
    ]
    assert len(opened) > 2
    assert opened[1] < users[0] < opened[2]  # opened to be copied, and the copy; then by libdb


@pytest.mark.root
@pytest.mark.parametrize("what", ["pl.db", "log.0000000001"])
@pytest.mark.parametrize("how", ["link", "file"])
def test_root_copies_no_file_that_is_not_theirs(host, tmp_path, what, how):
    """Another user's directory cannot have root hand out a file of somebody else's."""
    directory = tmp_path / "theirs"
    directory.mkdir()
    secret = tmp_path / "secret"
    peers.perl_database(secret, {"192.0.2.7/a@example.com/b@example.org": f"{NOW - 9}/0/0"})
    peers.perl_database(directory / "pl.db", {"192.0.2.7/a@x/b@y": f"{NOW - 9}/0/0"})
    theirs(directory / "pl.db")
    (directory / what).unlink(missing_ok=True)
    if how == "link":
        (directory / what).symlink_to(secret)
        theirs(directory / what)
    else:
        os.link(secret, directory / what)
    theirs(directory)
    result = host.run("import", directory / "pl.db", code=1)
    words = "files of several users" if how == "file" else "symbolic links"
    assert words in result.stderr
