"""The configurations of docs/beside-it.md, each tried on a real Postfix."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import dns_server
import pytest

harness = pytest.importorskip("postfix_harness")

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]

PAGE = (Path(__file__).parent.parent / "docs" / "beside-it.md").read_text()


def blocks(heading: str) -> list[str]:
    """Return the blocks of the page between this heading and the next one."""
    section = PAGE[PAGE.index(f"# {heading}\n") :].partition("\n")[2]
    return re.findall(r"```\n(.*?)```", re.split(r"(?m)^#", section)[0], re.DOTALL)


@contextlib.contextmanager
def configured(main: str, files: dict[str, str] | None = None, **settings: str):
    """Run a Postfix with a block in its main.cf, and others as files beside it."""
    postfix = harness.Postfix(main=settings)
    etc = postfix.directory / "etc"
    for name, text in {"main.cf": main, **(files or {})}.items():
        here = text.replace("/etc/postfix/", f"{etc}/")
        harness.as_root("tee", "-a", etc / name, input=here)
    with postfix:
        yield postfix


def rcpt(
    postfix, name="[UNAVAILABLE]", sender="a@example.com", recipient="b@example.org",
    address="192.0.2.1",
):  # fmt: skip
    """Return the code of the reply to RCPT."""
    with postfix.client(address, name) as smtp:
        smtp.mail(sender)
        return smtp.rcpt(recipient)[0]


def test_unknown_recipients_first():
    """A recipient who does not exist is refused at once, and nothing is stored of it."""
    (main,) = blocks("Unknown recipients first")
    users = "inline:{ { b@example.org = x } }"
    with configured(main, local_recipient_maps=users) as postfix:
        assert rcpt(postfix, recipient="nobody@example.org") == 550
        assert not postfix.filters()
        assert rcpt(postfix) == 450


WHITELIST = "list.dnswl.example"
SERVER = "127.83.53.1"
"""Of loopback, and nobody's: a resolver asks at port 53, where another may listen elsewhere."""


@contextlib.contextmanager
def name_server(*records):
    """Serve records at port 53, which takes root."""
    script = [sys.executable, dns_server.__file__, SERVER, "53", *records]
    command = script if os.geteuid() == 0 else ["sudo", "-n", "--", *script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    ) as server:
        assert server.stdout.readline() == b"serving\n"
        yield
        server.stdin.close()


@contextlib.contextmanager
def resolving(main: str):
    """Run a Postfix whose smtpd asks our name server: in its chroot it has a resolv.conf."""
    with contextlib.ExitStack() as stack:
        postfix = harness.Postfix()
        etc = postfix.directory / "etc"
        harness.as_root("tee", "-a", etc / "main.cf", input=main)
        master = (etc / "master.cf").read_text().replace("inet n - n - 200", "inet n - y - 200")
        assert "inet n - y - 200 smtpd" in master
        harness.as_root("tee", etc / "master.cf", input=master)
        inside = postfix.directory / "queue" / "etc"
        harness.as_root("mkdir", inside)
        resolver = f"nameserver {SERVER}\noptions timeout:1 attempts:1\n"
        harness.as_root("tee", inside / "resolv.conf", input=resolver)
        stack.enter_context(postfix)
        yield postfix


def test_dns_whitelists():
    """A client with a good score need not wait; others do, and those of whom nobody can tell."""
    (main,) = blocks("DNS whitelists")
    listed = {"192.0.2.1": "127.0.5.2", "192.0.2.2": "127.0.5.0", "192.0.2.3": "127.0.0.255"}
    listed["192.0.2.5"] = "127.0.5.3"
    records = [
        f"{'.'.join(reversed(address.split('.')))}.{WHITELIST} A {score}"
        for address, score in listed.items()
    ]
    with resolving(main) as postfix:
        with name_server(*records):
            codes = [rcpt(postfix, address=f"192.0.2.{number}") for number in (1, 2, 3, 4)]
            assert codes == [250, 450, 450, 450]
            # It permits mail for us alone.
            assert rcpt(postfix, recipient="b@elsewhere.example") == 554
        assert rcpt(postfix, address="192.0.2.5") == 450


@pytest.mark.skipif(
    not Path("/usr/sbin/postfix-policyd-spf-perl").exists(), reason="no postfix-policyd-spf-perl"
)
def test_spf_first():
    """Mail that SPF refuses is not stored; what it lets pass waits, and comes with its header."""
    master, main = blocks("SPF first")
    zones = dns_server.Zones()
    zones.spf("example.com", "v=spf1 ip4:192.0.2.1 -all")
    with dns_server.serving(zones) as address:
        host, _, port = address.partition(":")
        exported = f" RES_NAMESERVERS={host} RES_OPTIONS=port:{port}\n"
        postfix = harness.Postfix()
        etc = postfix.directory / "etc"
        before = re.search("(?m)^export_environment.*$", (etc / "main.cf").read_text())[0]
        harness.as_root("tee", "-a", etc / "main.cf", input=f"{main}{before}{exported}")
        harness.as_root("tee", "-a", etc / "master.cf", input=master)
        with postfix:
            assert rcpt(postfix, address="192.0.2.66") == 550
            assert not postfix.filters()
            assert ("example.com", "TXT") in zones.asked
            assert rcpt(postfix) == 450
            postfix.age(400)
            assert rcpt(postfix) == 250
            assert rcpt(postfix, address="192.0.2.66") == 550


def test_only_some_clients():
    """Only the clients that a table names wait."""
    main, table = blocks("Only some")
    with configured(main, {"greylisted": table}) as postfix:
        assert rcpt(postfix, "mail.example.net") == 250
        assert [rcpt(postfix), rcpt(postfix, "dyn-12.example.net")] == [450, 450]
        assert rcpt(postfix, "mail.example.net") == 250


@pytest.mark.skipif(
    not Path("/usr/lib/postfix/postfix-sqlite.so").exists(), reason="no postfix-sqlite"
)
def test_only_some_users():
    """Only the users wait for their mail who want it, as a table of a database says."""
    main, table = blocks("Users who want it, from a table or SQL")
    with configured(main, {"greylisted-users.cf": table}) as postfix:
        users = postfix.directory / "users.sqlite"
        with contextlib.closing(sqlite3.connect(users)) as tables, tables:
            tables.execute("CREATE TABLE users (address TEXT, wants_greylisting INTEGER)")
            tables.execute("INSERT INTO users VALUES ('b@example.org', 1), ('c@example.org', 0)")
        users.chmod(0o644)
        harness.as_root("cp", users, postfix.directory / "etc")
        codes = [rcpt(postfix, recipient=f"{user}@example.org") for user in "bcd"]
        assert codes == [450, 250, 250]


def test_callouts():
    """The empty sender is accepted at RCPT, and waits at DATA; other senders wait at RCPT."""
    (main,) = blocks("Callouts that never come back")
    with configured(main) as postfix:

        def bounce() -> list[int]:
            with contextlib.closing(postfix.client("192.0.2.1")) as smtp:  # no QUIT after DATA
                smtp.mail("")
                return [smtp.rcpt("b@example.org")[0], smtp.docmd("DATA")[0]]

        assert rcpt(postfix) == 450
        assert bounce() == [250, 450]
        postfix.age(400)
        assert bounce() == [250, 354]
