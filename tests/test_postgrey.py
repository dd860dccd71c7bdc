from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from greylist.screening import screen
from greylist.settings import Settings
from greylist.whitelist.matcher import Patterns, Whitelist
from greylist.whitelist.postgrey import client_rule, recipient_rule

if TYPE_CHECKING:
    from greylist.whitelist.lines import Line


def client(text: bytes, name: bytes = b"unknown", address: bytes = b"192.0.2.1") -> Line | None:
    patterns = Patterns(text, client_rule)
    assert patterns.errors == []
    return patterns.match(b"", {b"client_name": name, b"client_address": address})


def recipient(text: bytes, address: bytes) -> Line | None:
    patterns = Patterns(text, recipient_rule)
    assert patterns.errors == []
    return patterns.match(b"", {b"recipient": address})


@pytest.mark.parametrize(
    ("line", "name", "matches"),
    [
        (b"example.com", b"example.com", True),
        (b"example.com", b"mail.Example.COM", True),
        (b"EXAMPLE.com # comment", b"mail.example.com", True),
        (b"  example.com\t", b"mail.example.com", True),
        (b"example.com", b"badexample.com", False),
        (b"example.com", b"example.com.net", False),
        (b"example.com", b"mail.exampleXcom", False),
        (rb"/^mail\d+\.example\.com$/", b"mail7.example.com", True),
        (rb"/^mail\d+\.example\.com$/", b"mail.example.com", False),
        (rb"/EXAMPLE/", b"mail.example.com", True),
        (b"/./", b"unknown", False),
        (b"unknown", b"unknown", False),
        (b"# example.com", b"example.com", False),
    ],
)
def test_client_name(line, name, matches):
    """A domain stands for its subdomains, and an expression for what it matches."""
    assert (client(line, name) is not None) == matches


@pytest.mark.parametrize(
    ("line", "address", "matches"),
    [
        (b"192.0.2.1", b"192.0.2.1", True),
        (b"192.0.2.1", b"192.0.2.11", False),
        (b"192.0.2", b"192.0.2.200", True),
        (b"192.0", b"192.0.77.1", True),
        (b"192.0", b"192.1.0.1", False),
        (b"192.0.2.0/25", b"192.0.2.127", True),
        (b"192.0.2.0/25", b"192.0.2.128", False),
        (b"2a01:4180:4051:0800::/64", b"2a01:4180:4051:800::7", True),
        (b"2a01:4180:4051:0800::/64", b"2a01:4180:4051:801::7", False),
        (b"2001:db8::1", b"2001:db8::1", True),
        (b"client_address=192.0.2.0/25", b"192.0.2.127", True),
        (b"client_address=192.0.2.0/25", b"192.0.2.128", False),
    ],
)
def test_client_address(line, address, matches):
    """Two to four octets, networks and IPv6; two octets are a /16, which postgrey takes for /24."""
    assert (client(line, address=address) is not None) == matches


@pytest.mark.parametrize(
    ("line", "address", "matches"),
    [
        (b"postmaster@", b"postmaster@example.org", True),
        (b"postmaster@", b"PostMaster+x@example.org", True),
        (b"postmaster@", b"postmaster2@example.org", False),
        (b"postmaster@", b"xpostmaster@example.org", False),
        (b"joe@example.org", b"joe@example.org", True),
        (b"joe@example.org", b"joe+tag@example.org", True),
        (b"joe@example.org", b"joe@sub.example.org", False),
        (b"joe/smith@example.org", b"joe/smith@example.org", True),
        (b"joe/@", b"joe/@example.org", True),
        (b"@example.org", b"@example.org", True),
        (b"@example.org", b"joe@example.org", True),
        (b"joe@example.org", b"joe@exampleXorg", False),
        (b"j.e@example.org", b"joe@example.org", False),
        (b"example.org", b"joe@example.org", True),
        (b"example.org", b"joe@sub.example.org", True),
        (b"example.org", b"joe@notexample.org", False),
        (b"example.org", b"joe@example.org.net", False),
        (rb"/^joe\d@/", b"joe7@example.org", True),
        (rb"/^joe\d@/", b"joe@example.org", False),
        (b"# joe@example.org", b"joe@example.org", False),
        (b"c++@example.org", b"c++@example.org", True),
        (b"XN--BCHER-KVA.example", "joe@b\u00fccher.example".encode(), True),
        ("B\u00dcCHER.example".encode(), b"joe@xn--bcher-kva.example", True),
        ("B\u00dcCHER.example".encode(), "joe@b\u00fccher.example".encode(), True),
    ],
)
def test_recipient(line, address, matches):
    """user@, user@domain, with extensions, domains with subdomains, and expressions."""
    assert (recipient(line, address) is not None) == matches


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (client_rule, b"two words"),
        (client_rule, b"192"),
        (client_rule, b"1.2.3.4.5"),
        (client_rule, b"192.0.2.0/99"),
        (client_rule, b"client_address="),
        (client_rule, b"client_name= x"),
        (client_rule, b"/(/"),
        (client_rule, b"//"),
        (client_rule, b"example.com/24"),
        (recipient_rule, b"two words"),
        (recipient_rule, b"two words@example.org"),
        (recipient_rule, b"joe@two words"),
        (recipient_rule, b"/(/"),
        (recipient_rule, b"//"),
        (recipient_rule, b"/joe@example.org"),
        (recipient_rule, b"example.org/24"),
    ],
)
def test_errors(rule, line):
    """What has no documented form is left out, with its line's number."""
    patterns = Patterns(b"\n" + line + b"\n\n", rule)
    assert [number for number, _ in patterns.errors] == [2]


def test_screen(tmp_path):
    """Both lists let through, for postgrey's reasons; only listed recipients are greylisted."""
    clients, recipients, only = (tmp_path / name for name in ("clients", "recipients", "only"))
    clients.write_bytes(b"example.com\n")
    recipients.write_bytes(b"postmaster@\n")
    only.write_bytes(b"example.org\n")
    lists = [
        Whitelist(str(tmp_path / "none"), pytest.fail),
        Whitelist(str(clients), pytest.fail, client_rule),
        Whitelist(str(recipients), pytest.fail, recipient_rule),
    ]
    opted = [Whitelist(str(only), pytest.fail, recipient_rule)]

    def reason(name, to):
        what = {b"client_address": b"192.0.2.1", b"client_name": name, b"recipient": to}
        decision = screen(what, Settings(), lists, opted)
        return decision.reason if decision else None

    assert reason(b"mail.example.com", b"b@example.org") == "client whitelist"
    assert reason(b"mail.example.net", b"postmaster@example.org") == "recipient whitelist"
    assert reason(b"mail.example.net", b"b@example.org") is None
    assert reason(b"mail.example.net", b"b@other.example") == "recipient not in greylist_recipients"


SHIPPED = "usr/share/postgrey"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory) -> Path:
    """Return where Debian's lists are: those installed, or the package's own, unpacked."""
    installed = Path("/") / SHIPPED
    if installed.exists():
        return installed
    directory = tmp_path_factory.mktemp("postgrey")
    if not shutil.which("apt-get"):
        pytest.skip("no postgrey and no apt-get")
    download = ["apt-get", "download", "postgrey"]
    try:
        subprocess.run(download, cwd=directory, capture_output=True, check=True, timeout=60)
    except subprocess.SubprocessError:
        pytest.skip("postgrey is not installed, and its package cannot be had")
    packages = list(directory.glob("*.deb"))
    subprocess.run(["dpkg", "-x", packages[0], directory], check=True)
    return directory / SHIPPED


def test_debians_lists(shipped):
    """The lists that postgrey ships with Debian load without a warning, and match."""
    clients = Whitelist(str(shipped / "whitelist_clients"), pytest.fail, client_rule)
    recipients = Whitelist(str(shipped / "whitelist_recipients"), pytest.fail, recipient_rule)

    def found(name, address=b"203.0.113.1"):
        return clients.match(b"", {b"client_name": name, b"client_address": address})

    assert found(b"mail-yw1-f172.google.com") == b"google.com"
    assert found(b"smtp17.orange.fr") == rb"/^smtp\d+\.orange\.fr$/"
    assert found(b"unknown", b"195.235.39.7") == b"195.235.39"
    assert found(b"unknown", b"51.4.72.9") == b"51.4.72.0/24"
    assert found(b"unknown", b"2a01:4180:4051:400::9") == b"2a01:4180:4051:0400::/64"
    assert found(b"mail.example.com") is None
    assert recipients.match(b"", {b"recipient": b"abuse@example.org"}) == b"abuse@"
    text = (shipped / "whitelist_clients").read_bytes()
    assert Patterns(text, client_rule).errors == []
