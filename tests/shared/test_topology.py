"""Sentinels, a cluster, TLS and restricted users: real servers of each kind."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest
from conftest import SCRIPT
from postfix_harness import free_port
from valkey_server import PROGRAM, ValkeyCluster, ValkeyServer

from greylist.store.valkey.cluster import Node, slot_of
from greylist.store.valkey.errors import Unavailable
from greylist.store.valkey.inspection import RIGHTS
from tests.shared.house import DEFERRED, DUNNO, SharedHouse, logged, request
from tests.waiting import until

DOCS = Path(__file__).parents[2] / "docs" / "several-mail-exchangers.md"


def acl() -> list[str]:
    """Return what a user needs, as the docs have it, with a password of the test's."""
    [rules] = re.findall(r"user greylist (on .*)", DOCS.read_text())
    return rules.replace("SHA256-OF-THE-PASSWORD", sha256(b"sesame").hexdigest()).split()


class Sentinel(ValkeyServer):
    """One of those that watch a master."""

    def __init__(self, master: int) -> None:
        super().__init__(start=False)
        self.url = self.tcp
        (self.directory / "sentinel.conf").write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor mail 127.0.0.1 {master} 2\n"
            "sentinel down-after-milliseconds mail 500\n"
            "sentinel failover-timeout mail 3000\n"
        )
        self.start()

    def launch(self, *options: str) -> None:
        with (self.directory / "log").open("ab") as log:
            command = [PROGRAM, str(self.directory / "sentinel.conf"), "--sentinel"]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)


@pytest.fixture
def stack():
    with contextlib.ExitStack() as stack:
        yield stack


def test_failover(stack):
    """Three Sentinels move the master in the middle of traffic, and greylisting goes on."""
    master = stack.enter_context(ValkeyServer())
    options = ("--replicaof", f"127.0.0.1 {master.port}")
    replica = stack.enter_context(ValkeyServer(*options))
    sentinels = [stack.enter_context(Sentinel(master.port)) for _ in range(3)]
    until(lambda: b"master_link_status:up" in replica.ask("INFO"))
    for sentinel in sentinels:
        until(lambda s=sentinel: b"slaves=1,sentinels=3" in s.ask("INFO"))
    # The first one that is named is dead: the others know.
    hosts = ",".join(["127.0.0.1:1", *(f"127.0.0.1:{s.port}" for s in sentinels)])
    house = SharedHouse(f"valkey+sentinel://{hosts}/mail")
    stack.callback(house.close)
    old = house.filter()
    assert old.ask(request(sender="before@example.com")) == DEFERRED
    assert master.ask("WAIT", "1", "2000") == 1
    master.kill()
    replies = set()
    began = time.monotonic()

    numbers = iter(range(10_000))

    def is_back():
        asked = time.monotonic()
        reply = old.ask(request(sender=f"during{next(numbers)}@example.com"))
        assert time.monotonic() - asked < 1.5
        replies.add(reply)
        if reply == DUNNO:
            house.rest()
            time.sleep(0.05)
        return reply == DEFERRED

    until(is_back)
    assert replies <= {DEFERRED, DUNNO}
    assert time.monotonic() - began < 20
    assert b"greylist:192.0.2.0/before@example.com/recipient@example.org" in replica.stored()
    assert house.filter().ask(request(sender="after@example.com")) == DEFERRED
    text = logged(old)
    assert text.count("sender=before@example.com") == 1
    # What was asked before the failover is known after it.
    assert old.ask(request(sender="before@example.com")) == DEFERRED
    assert "early-retry" in logged(old).splitlines()[-1]


def test_demoted_master(stack):
    """A master that has become a replica is left for the new one within one request."""
    first, second = (stack.enter_context(ValkeyServer()) for _ in range(2))
    second.ask("REPLICAOF", "127.0.0.1", str(first.port))
    until(lambda: b"master_link_status:up" in second.ask("INFO"))
    sentinel = stack.enter_context(Sentinel(first.port))
    house = SharedHouse(f"valkey+sentinel://127.0.0.1:{sentinel.port}/mail")
    stack.callback(house.close)
    process = house.filter()
    assert process.ask(request()) == DEFERRED
    sentinel.ask("SENTINEL", "REMOVE", "mail")
    sentinel.ask("SENTINEL", "MONITOR", "mail", "127.0.0.1", str(second.port), "1")
    second.ask("REPLICAOF", "NO", "ONE")
    first.ask("REPLICAOF", "127.0.0.1", str(second.port))
    assert process.ask(request(sender="other@example.com")) == DEFERRED
    assert "away" not in logged(process)


def test_unknown_group(stack):
    """Sentinels that do not know the group are named in the log."""
    server = stack.enter_context(ValkeyServer())
    sentinel = stack.enter_context(Sentinel(server.port))
    house = SharedHouse(f"valkey+sentinel://127.0.0.1:{sentinel.port}/other")
    assert house.filter().ask(request()) == DUNNO
    assert "knows no 'other'" in house.close()


def test_cluster(stack):
    """Entries are on the masters that have their slots; what is asked together lies together."""
    cluster = stack.enter_context(ValkeyCluster())
    for server in cluster.servers:
        server.ask("ACL", "SETUSER", "greylist", "on", ">sesame", "~greylist:*", *RIGHTS.split())
    house = SharedHouse(cluster.url.replace("//", "//greylist:sesame@"))
    stack.callback(house.close)
    process = house.filter()
    for number in range(20):
        assert process.ask(request(sender=f"s{number}x@example.com")) == DEFERRED
    kept = [server.stored() for server in cluster.servers]
    assert all(kept)
    for server in cluster.servers:
        for key in server.stored():
            assert server.ask("CLUSTER", "KEYSLOT", key) == slot_of(key)
    names = [key for keys in kept for key in keys]
    assert all(Node.stored(Node.ours(name)) == name for name in names)
    # A key moves to another server while filters use it.
    name = Node.stored(b"192.0.2.0/s7x@example.com/recipient@example.org")
    source = next(
        server for server, keys in zip(cluster.servers, kept, strict=True) if name in keys
    )
    target = next(server for server in cluster.servers if server is not source)
    slot = str(slot_of(name))
    ids = [server.ask("CLUSTER", "MYID") for server in (source, target)]
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
    source.ask("MIGRATE", "127.0.0.1", str(target.port), name, "0", "5000")
    assert process.ask(request(sender="s7x@example.com")) == DEFERRED
    assert "early-retry" in logged(process).splitlines()[-1]
    for server in (target, source):
        server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
    assert process.ask(request(sender="s7x@example.com")) == DEFERRED
    assert "early-retry" in logged(process).splitlines()[-1]
    assert "away" not in logged(process)
    # One of the masters is dead: what the others have is answered.
    cluster.servers[0].kill()
    replies = [process.ask(request(sender=f"n{number}@example.com")) for number in range(5)]
    assert set(replies) <= {DEFERRED, DUNNO}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """Make an authority, and a certificate for 127.0.0.1; return their directory."""
    directory = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(
            ["openssl", *arguments], cwd=directory, check=True, capture_output=True, timeout=60
        )

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca")
    openssl("req", *key, "-keyout", "s.key", "-out", "s.csr", "-subj", "/CN=server")
    (directory / "ext").write_text("subjectAltName = IP:127.0.0.1\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext")
    openssl("x509", "-req", "-in", "s.csr", *signed, "-out", "s.pem")
    both = (directory / "s.pem").read_text() + (directory / "s.key").read_text()
    (directory / "both.pem").write_text(both)
    return directory


def test_tls(stack, certificates):
    """TLS with our own authority, and with our own certificate; not without either."""
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", "s.pem", "--tls-key-file", "s.key"]
    options += ["--tls-ca-cert-file", "ca.pem"]
    options = [str(certificates / o) if Path(o).suffix in {".pem", ".key"} else o for o in options]
    server = stack.enter_context(ValkeyServer(*options))
    url = f"valkeys://127.0.0.1:{port}"

    def answer(url, **settings):
        settings = {name: certificates / value for name, value in settings.items()}
        house = SharedHouse(url, **settings)
        reply = house.filter().ask(request())
        return reply, house.close()

    ours = {"database_ca_file": "ca.pem", "database_certificate_file": "both.pem"}
    assert answer(url, **ours)[0] == DEFERRED
    assert server.stored()
    reply, text = answer(url, database_ca_file="ca.pem")
    assert reply == DUNNO
    reply, text = answer(url)
    assert reply == DUNNO
    assert "certificate verify failed" in text
    # Another name than the certificate's.
    reply, text = answer(url.replace("127.0.0.1", "127.0.0.2"), **ours)
    assert reply == DUNNO
    reply, text = answer(url, **{**ours, "database_ca_file": "absent"})
    assert reply == DUNNO
    assert "No such file" in text
    os.mkfifo(certificates / "fifo")
    for name in ours:
        reply, text = answer(url, **{**ours, name: "fifo"})
        assert reply == DUNNO
        assert "not a regular file" in text
    # A server that speaks no TLS there.
    reply, text = answer(f"valkeys://127.0.0.1:{server.port}", **ours)
    assert reply == DUNNO


def test_restricted_user(stack):
    """A user who may only use our keys is enough, for all commands; and has no others."""
    assert {rule for rule in acl() if rule[0] == "+"} < set(RIGHTS.split())
    server = stack.enter_context(ValkeyServer())
    server.ask("ACL", "SETUSER", "greylist", *acl())
    server.ask("SET", "other", "secret")
    server.ask("CONFIG", "SET", "requirepass", "root")
    url = server.url.replace("//", "//greylist:sesame@")
    house = SharedHouse(url)
    stack.callback(house.close)
    assert house.filter().ask(request()) == DEFERRED
    with pytest.raises(Unavailable):
        server.ask("GET", "other", url=url)
    environment = {**os.environ, "GREYLIST_CONFIG": str(house.config)}
    for command in (["list"], ["stats"], ["dump"], ["pass", "--trust", "192.0.2.1"]):
        subprocess.run([SCRIPT, *command], env=environment, check=True, stdout=subprocess.DEVNULL)
    assert b"greylist:/client/192.0.2.0" in server.ask(
        "KEYS", "*", url=server.url.replace("//", "//:root@")
    )
