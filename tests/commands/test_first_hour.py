"""An administrator's first hour: from the real postgrey, sqlgrey or greylist.pl to greylist.

Each service runs behind a real Postfix until mail has passed it; then its options and its state
are taken over, Postfix is told to ask greylist instead, and nobody who was known waits again.
"""

from __future__ import annotations

import contextlib
import re
import time

import pytest

from . import peers

harness = pytest.importorskip("postfix_harness")
readable = pytest.importorskip("readable")

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]

KNOWN = [
    ("192.0.2.7", "mail.example.com", "ann@example.com", "bob@example.org"),
    ("IPV6:2001:db8:1:2::3", "[UNAVAILABLE]", "dora@example.net", "bob@example.org"),
    ("198.51.100.9", "[UNAVAILABLE]", "", "carl@example.org"),
]
WAITING = ("203.0.113.5", "mx.example.edu", "eve@example.edu", "bob@example.org")
STRANGERS = [
    ("203.0.113.77", "[UNAVAILABLE]", "spam@example.info", "bob@example.org"),
    ("192.0.2.200", "mail.example.com", "stranger@example.biz", "bob@example.org"),
]


def attempt(postfix, mail):
    """Return the code of the reply to RCPT."""
    address, name, sender, recipient = mail
    with postfix.client(address, name) as smtp:
        assert smtp.mail(sender)[0] == 250
        return smtp.rcpt(recipient)[0]


class Host:
    """A host whose Postfix asks an old service, and its administrator.

    Attributes:
        postfix: the Postfix.
        old: the directory in which the service keeps its state.
        options: a file with the service's options, if it has one.
        data: the directory of greylist's database.
    """

    def __init__(self, postfix, name):
        self.postfix = postfix
        self.old = postfix.directory / name
        self.old.mkdir()
        self.old.chmod(0o755)  # whatever the umask: others go there
        self.options = None
        self.data = postfix.directory / f"{name}-data"
        self.command("install", "-d", "-o", "nobody", "-m", "0700", self.data)

    def ask(self, service):
        """Have Postfix ask this service, as an edit of main.cf and a reload do."""
        restrictions = "permit_mynetworks, reject_unauth_destination, reject_unlisted_recipient"
        restrictions += f", check_policy_service {service}"
        self.command(
            "postconf",
            "-c",
            self.postfix.directory / "etc",
            f"smtpd_recipient_restrictions={restrictions}",
        )
        before = self.postfix.log().count("reload -- version")
        self.command("postfix", "-c", self.postfix.directory / "etc", "reload")
        self.postfix.wait_for_log(f"(?s)(?:reload -- version.*){{{before + 1}}}")

    def settings(self):
        """Return the settings that stand for the service's options; of greylist.pl, its delay."""
        settings = {"delay": "1s", "database": self.data / "greylist.db"}
        if self.options is None:
            return settings
        printed = self.command("greylist", "import", "--settings", self.options)
        lines = [line for line in printed.splitlines() if not line.startswith("#")]
        # sqlgrey counts in minutes, and its delay of none would be too short for a test.
        return dict(line.split(" = ", 1) for line in lines) | settings

    def command(self, name, *arguments, check=True):
        """Run a command as root; return what it printed."""
        path = f"PATH={self.postfix.bin}:/usr/sbin:/usr/bin:/sbin:/bin"
        config = f"GREYLIST_CONFIG={self.postfix.directory}/greylist.cf"
        done = readable.as_root("env", path, config, name, *arguments, check=False)
        assert not (check and done.returncode), done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def behind_postgrey(host):
    """Run postgrey with a short delay, and Debian's file of its options."""
    host.options = host.old / "default"
    host.options.write_text(
        'POSTGREY_OPTS="--inet=10023 --delay=1"\nPOSTGREY_TEXT="Try %s later"\n'
    )
    with peers.postgrey(host.old, "--delay=1", "--greylist-text=Try %s later"):
        yield f"unix:{host.old}/socket"


@contextlib.contextmanager
def behind_sqlgrey(host):
    """Run sqlgrey, which lets through whoever comes back after a second."""
    with peers.sqlgrey(host.old):
        host.options = host.old / "sqlgrey.conf"
        yield "inet:" + re.search(r"^inet = (.*)$", host.options.read_text(), re.MULTILINE)[1]


@contextlib.contextmanager
def behind_greylist_pl(host):
    """Have Postfix spawn greylist.pl, of which the package has an example."""
    script = peers.greylist_pl(host.old, delay=1)
    master = host.postfix.directory / "etc" / "master.cf"
    line = f"policy unix - n n - 0 spawn user=nobody argv=/usr/bin/perl {script}"
    host.command("chown", "nobody", host.old)
    host.command("sh", "-c", f"echo '{line}' >>{master}")
    yield "unix:private/policy"


@pytest.fixture(scope="module")
def postfix():
    """Return a Postfix without the tests' own way to the filter, which nothing asks."""
    with harness.Postfix() as running:
        service = f"127.0.0.1:{running.policy_port}/inet"
        etc = running.directory / "etc"
        readable.as_root("postconf", "-c", etc, "-MX", service)
        # Several processes of greylist.pl would read stale pages, and forget each other's mail.
        limit = f"127.0.0.1:{running.port}/inet/process_limit=1"
        readable.as_root("postconf", "-c", etc, "-F", limit)
        yield running


@pytest.mark.parametrize("behind", [behind_postgrey, behind_sqlgrey, behind_greylist_pl])
def test_a_first_hour(postfix, behind):
    """State of real mail, import, switch: the known pass, strangers wait, check is green."""
    host = Host(postfix, behind.__name__)
    with behind(host) as service:
        host.ask(service)
        assert {attempt(postfix, mail) for mail in KNOWN} == {450}
        time.sleep(2.1)  # greylist.pl wants more than its delay
        assert {attempt(postfix, mail) for mail in KNOWN} == {250}
        assert attempt(postfix, WAITING) == 450
    postfix.configure(**host.settings())
    host.command("greylist", "import", host.old)
    host.ask("{ unix:private/greylist, default_action=DUNNO, timeout=10s }")
    check = host.command("greylist", "check", "--postfix", postfix.directory / "etc")
    assert "0 errors, 0 warnings." in check
    assert [attempt(postfix, mail) for mail in KNOWN] == [250] * len(KNOWN)
    others = [(*mail[:3], "dora@example.org") for mail in KNOWN]
    assert [attempt(postfix, mail) for mail in others] == [250] * len(KNOWN)
    assert [attempt(postfix, mail) for mail in STRANGERS] == [450] * len(STRANGERS)
    time.sleep(1.1)
    assert attempt(postfix, WAITING) == 250
    assert [attempt(postfix, mail) for mail in STRANGERS] == [250] * len(STRANGERS)
    assert postfix.warnings() == []
