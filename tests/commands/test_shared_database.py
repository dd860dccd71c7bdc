"""Every command on a database in Valkey or Redis."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from valkey_server import ValkeyServer

from greylist.commands.check.account import owner
from greylist.commands.check.database import examine
from greylist.commands.session import opened

from .mailhost import Host

TRIPLETS = {
    b"192.0.2.0/ann@example.com/bob@example.org": (60, 0),
    b"198.51.100.0//bob@example.org": (7200, 3600),
    b"203.0.113.0/\xff\n@example.net/carl@example.org": (30, 0),
}


@pytest.fixture(scope="module")
def server():
    with ValkeyServer("--maxmemory", "100mb", "--maxmemory-policy", "volatile-ttl") as server:
        yield server


@pytest.fixture
def shared(server, tmp_path):
    """Return a host with a few entries in a shared database."""
    server.ask("FLUSHALL")
    host = Host(tmp_path)
    host.database = server.url
    host.configure()
    now = int(time.time())
    with opened(host.settings) as store:
        for key, (first, last) in TRIPLETS.items():
            value = b"%d/%d/%d" % (now - first, last and now - last, bool(last))
            store.transact(lambda entries, key=key, value=value: entries.put(key, value, 9000))
    return host


def findings(host):
    return [
        (level, subject, text)
        for level, subject, text, _ in examine(host.settings, "greylist", owner(host.settings))
    ]


def test_figures(shared):
    """List, stats and metrics show what is stored."""
    assert len(shared.run("list", "--json").stdout.splitlines()) == 3
    assert "203.0.113.0" in shared.run("list", "carl@*").stdout
    states = json.loads(shared.run("stats", "--json").stdout)
    assert states["states"]["waiting"] == 2
    assert states["bytes"] > 1000
    assert 'greylist_entries{state="passed"} 1' in shared.run("metrics").stdout


def test_forget_and_pass(shared, server):
    """What is forgotten is gone; what is passed passes at its next attempt."""
    assert "1 forgotten" in shared.run("forget", "carl@*").stdout
    assert len(server.stored()) == 2
    assert "1 will pass" in shared.run("pass", "ann@*").stdout
    asked = ["--client-address", "192.0.2.1", "--sender", "ann@example.com"]
    asked += ["--recipient", "bob@example.org"]
    explained = json.loads(shared.run("explain", "--json", *asked).stdout)
    assert explained["verdict"] == "pass"
    before = server.ask("GET", server.stored()[0])
    assert server.ask("GET", server.stored()[0]) == before
    shared.run("pass", "--trust", "203.0.113.9")
    assert server.ask("TTL", b"greylist:/client/203.0.113.0") > 30 * 86400


def test_replay(shared, server, tmp_path):
    """A replay leaves the database alone."""
    log = tmp_path / "mail.log"
    stamp = time.strftime("%b %d %H:%M:%S")
    log.write_text(
        f"{stamp} mx postfix/smtpd[1]: NOQUEUE: reject: RCPT from mail.example.com[192.0.2.9]: "
        "450 4.2.0 <b@example.org>: Recipient address rejected: x; from=<a@example.com> "
        "to=<b@example.org> proto=ESMTP helo=<mail>\n"
    )
    before = server.stored()
    shared.run("replay", log)
    assert server.stored() == before


def test_purge_says_who_does_it(shared, server):
    """Nobody has to purge: the server does."""
    assert "the server deletes what has expired by itself" in shared.run("purge").stdout
    assert len(server.stored()) == 3


def test_check(shared, server):
    """The doctor looks at the version, memory, disk, replicas, network and the entries."""
    found = findings(shared)
    assert [subject for _, subject, _ in found] == [
        "server", "memory", "disk", "replicas", "network", "database",
    ]  # fmt: skip
    assert [subject for level, subject, _ in found if level != "ok"] == ["disk"]
    assert "3 entries" in found[-1][2]


@pytest.mark.parametrize(
    ("name", "value", "normal"),
    [
        ("maxmemory", "0", "100mb"),
        ("maxmemory-policy", "noeviction", "volatile-ttl"),
        ("maxmemory-policy", "allkeys-lru", "volatile-ttl"),
    ],
)
def test_check_of_settings(shared, server, name, value, normal):
    """A server whose settings lose mail's entries gets a warning, with what mends it."""
    server.ask("CONFIG", "SET", name, value)
    found = findings(shared)
    server.ask("CONFIG", "SET", name, normal)
    assert ("warning", "memory") in [finding[:2] for finding in found]


def test_check_of_a_replica(shared, server):
    """A replica takes no entries: an error."""
    with ValkeyServer("--replicaof", f"127.0.0.1 {server.port}") as replica:
        shared.database = replica.url
        shared.configure()
        assert ("error", "replicas") in [f[:2] for f in findings(shared)]


def test_check_of_passwords(shared, server, tmp_path):
    """A password that everybody can read is named; a wrong or missing one is an error."""
    file = tmp_path / "password"
    file.write_text("sesame\n")
    file.chmod(0o644)
    server.ask("CONFIG", "SET", "requirepass", "sesame")
    try:
        [*_, error] = findings(shared)
        assert error[0] == "error"
        assert "NOAUTH" in error[2]
        shared.configure(f"database_password_file = {file}")
        assert findings(shared)[0][:2] == ("warning", "password")
        file.chmod(0o640)
        assert findings(shared)[0][:2] == ("ok", "password")
        file.write_text("other")
        assert "WRONGPASS" in findings(shared)[-1][2]
        file.unlink()
        os.mkfifo(file)
        assert findings(shared)[0][:3] == ("error", "password", f"{file}: not a regular file")
        shared.database = server.url.replace("://", "://:sesame@")
        shared.configure()
        os.chmod(shared.config, 0o644)
        assert findings(shared)[0][:2] == ("warning", "password")
        os.chmod(shared.config, 0o640)
        assert findings(shared)[0][:2] == ("ok", "password")
        result = shared.run("check", "--postfix", "/nonexistent", code=None)
        assert "password" in result.stdout
        assert "sesame" not in result.stdout
    finally:
        server.ask("CONFIG", "SET", "requirepass", "", url=server.url.replace("://", "://:sesame@"))


def test_away(shared):
    """A server that is not there is an error of its own: exit status 3, or the doctor's 1."""
    shared.database = "valkey+unix:///nonexistent"
    shared.configure()
    for command in (["list"], ["stats"], ["dump"], ["forget", "x"], ["pass", "--trust", "1.2.3.4"]):
        result = shared.run(*command, code=3)
        assert "valkey+unix:///nonexistent: No such file" in result.output
    assert "No such file" in findings(shared)[-1][2]


def test_moving_over(shared, server, tmp_path):
    """A dump of a Berkeley DB is taken in, repeatedly, and expires when it would have there."""
    server.ask("FLUSHALL")
    (tmp_path / "old").mkdir()
    old = Host(tmp_path / "old")
    now, hour, day = int(time.time()), 3600, 86400
    lives = {
        b"192.0.2.0/ann@example.com/bob@example.org": (9 * day, day, b"04", 34 * day),
        b"192.0.2.0/new@example.com/bob@example.org": (hour, 0, b"0", 2 * day - hour),
        b"192.0.2.0/old@example.com/bob@example.org": (3 * day, 0, b"0", -2),
        b"/client/192.0.2.0": (9 * day, 2 * day, b"7", 33 * day),
    }
    entries = {
        key: b"%d/%d/%s" % (now - first, last and now - last, count)
        for key, (first, last, count, _) in lives.items()
    }
    with opened(old.settings, create=True) as store:
        for key, value in entries.items():
            store.transact(lambda e, key=key, value=value: e.put(key, value, 9000))
    dump = old.script("dump").stdout
    first = json.loads(shared.script("load", "--json", input=dump).stdout)
    assert first["merged"] == 0
    for key, (*_, left) in lives.items():
        assert abs(server.ask("TTL", b"greylist:" + key) - left) < 60
    # Mail flows meanwhile: what it has stored since is newer, and stays.
    newer = b"%d/%d/05" % (now - 9 * day, now)
    name = b"greylist:192.0.2.0/ann@example.com/bob@example.org"
    server.ask("SET", name, newer, "EX", "3000000")
    second = json.loads(shared.script("load", "--json", input=dump).stdout)
    assert second["unchanged"] == 3
    assert server.ask("GET", name) == newer
    # And back.
    dump = shared.script("dump").stdout
    (tmp_path / "third").mkdir()
    third = Host(tmp_path / "third")
    assert json.loads(third.script("load", "--json", input=dump).stdout)["added"] == 3


def test_a_load_under_fire(shared, server):
    """Thousands of entries are taken in while a filter changes some of them; none is lost."""
    server.ask("FLUSHALL")
    now = int(time.time())
    number = 5000
    lines = [
        b"192.0.2.%d/s%d@example.com/r@example.org\t%d/0/0" % (n % 256, n, now)
        for n in range(number)
    ]
    stop = threading.Event()
    count = 0

    def change():
        nonlocal count
        with opened(shared.settings) as store:
            while not stop.is_set():
                key = b"192.0.2.%d/s%d@example.com/r@example.org" % (count % 256, count)
                store.transact(lambda e, key=key: e.put(key, b"%d/%d/7" % (now, now + 1), 90_000))
                count += 1

    thread = threading.Thread(target=change)
    thread.start()
    loaded = shared.script("load", input=b"\n".join(lines) + b"\n")
    stop.set()
    thread.join()
    assert loaded.returncode == 0, loaded.stderr
    assert len(server.stored()) >= number
    changed = [
        b"greylist:192.0.2.%d/s%d@example.com/r@example.org" % (n % 256, n)
        for n in range(min(count, number))
    ]
    assert changed
    counts = {int(value.rpartition(b"/")[2]) for value in server.ask("MGET", *changed)}
    assert counts == {7}
