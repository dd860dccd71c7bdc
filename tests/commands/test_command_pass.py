"""``greylist pass`` and ``greylist purge``."""

from __future__ import annotations

import json

import pytest

from greylist.log import unquote

from .mailhost import NOW

HOUR, DAY = 3600, 86400
KEY = b"192.0.2.0/ann@example.com/bob@example.org"
ASKED = ["--client-address=192.0.2.7", "--sender=ann@example.com", "--recipient=bob@example.org"]


def verdict(host):
    return json.loads(host.run("explain", "--json", *ASKED).stdout)["verdict"]


@pytest.mark.parametrize(
    "selector", [["ann@*"], ["--client", "192.0.2.7"], ["--recipient", "bob@example.org"]]
)
@pytest.mark.parametrize("value", [b"%d/0/0" % (NOW - 9), b"%d/%d/2" % (NOW - 90, NOW - 9)])
def test_what_waits_passes_at_its_next_attempt(host, selector, value):
    """A triplet passes, whichever part of it was named, however often it tried."""
    host.put({KEY: value})
    assert verdict(host) == "greylist"
    assert host.run("pass", *selector).stdout == "1 will pass at the next attempt.\n"
    assert verdict(host) == "pass"


def test_it_passes_whenever_it_comes(host):
    """Its window need not be open any more then; its times stay as they are."""
    host.put({KEY: b"%d/%d/1" % (NOW - 7200, NOW - 7100)})
    host.run("pass", "ann@*")
    assert host.all()[KEY] == b"%d/%d/01" % (NOW - 7200, NOW - 7100)
    nearly = b"%d/0/0" % (NOW - 2 * DAY + 60)
    host.put({KEY: nearly})
    host.run("pass", "ann@*")
    listed = json.loads(host.run("list", "--json").stdout)
    assert (listed["state"], listed["last"]) == ("passed", NOW - 2 * DAY + 60)


def test_its_pool_passes_too(host):
    """The next attempt may come from elsewhere in the sender's pool."""
    asked = ["--client-name=mx.example.com", *ASKED]
    stored = json.loads(host.run("explain", "--json", *asked).stdout)["would_store"]
    host.put({unquote(key.encode()): value.encode() for key, value in stored.items()})
    elsewhere = ["--client-address=198.51.100.7", *asked[:1], *asked[2:]]
    for where in (asked, elsewhere):
        assert json.loads(host.run("explain", "--json", *where).stdout)["verdict"] == "greylist"
    assert host.run("pass", "ann@*").stdout == "1 will pass at the next attempt.\n"
    for where in (asked, elsewhere):
        assert json.loads(host.run("explain", "--json", *where).stdout)["verdict"] == "pass"


def test_what_has_expired_passes_too(host):
    """A triplet that came back too late, and one that was never pruned, start afresh as old."""
    for value in (b"%d/0/0" % (NOW - 3 * DAY), b"%d/%d/4" % (NOW - 90 * DAY, NOW - 60 * DAY)):
        host.put({KEY: value})
        assert verdict(host) == "greylist"
        host.run("pass", "ann@*", "--state", "expired")
        assert verdict(host) == "pass"


def test_a_client_is_no_triplet(host):
    """Who asks for trusted ones has nothing to let through."""
    host.put({b"/client/192.0.2.0": b"%d/0/5" % NOW})
    assert "No entry matches" in host.run("pass", "--state", "trusted", code=1).stderr


def test_what_has_passed_already_stays(host):
    """Only triplets that wait are changed."""
    entries = {KEY: b"%d/%d/1" % (NOW - 900, NOW - 9)}
    host.put(entries)
    assert "No entry matches" in host.run("pass", "ann@*", code=1).stderr
    assert host.all() == entries


def test_a_client_can_be_trusted(host):
    """The client's network is trusted as if it had earned it, and stays so for max_age."""
    host.run("pass", "--trust", "192.0.2.99")
    assert verdict(host) == "pass"
    listed = json.loads(host.run("list", "--json").stdout)
    assert (listed["client"], listed["state"]) == ("192.0.2.0", "trusted")
    assert listed["attempts"] == 5
    assert host.run("forget", "192.0.2.7").stdout == "1 forgotten.\n"
    assert verdict(host) == "greylist"


@pytest.mark.parametrize("name", ["192.0.2.0/23", "192.0.2.1/24", " 192.0.2.1", "\udcff", ""])
def test_trust_is_for_an_address(host, name):
    """What no client can be is refused, and not trusted in vain."""
    host.run("pass", f"--trust={name}", code=2)
    assert not host.database.exists()


def test_what_list_shows_can_be_trusted(host):
    """A network is taken in the form in which list shows it."""
    assert host.run("pass", "--trust", "192.0.2.0/24").stdout == "192.0.2.0/24 is trusted.\n"
    assert host.run("list").stdout.splitlines()[1].split()[0] == "192.0.2.0/24"
    assert verdict(host) == "pass"


@pytest.mark.parametrize("pool", ["domain", "network"])
def test_trust_in_a_domain(host, pool):
    """A mail server's name stands for its verified domain."""
    host.configure(f"pool = {pool}")
    assert "example.com is trusted" in host.run("pass", "--trust", "mail.example.com").stdout
    named = json.loads(host.run("explain", "--json", "--client-name=b.example.com", *ASKED).stdout)
    assert (named["verdict"], named["reason"]) == ("pass", "client AWL")


def test_trust_needs_the_auto_whitelist(host):
    """With auto_whitelist = 0 nobody looks at trust: the whitelist's file is the place."""
    host.configure("auto_whitelist = 0")
    assert "add the client to the whitelist" in host.run("pass", "--trust", "::1", code=2).stderr


@pytest.mark.parametrize("arguments", [[], ["x@y", "--trust", "192.0.2.1"]])
def test_pass_needs_to_know_who(host, arguments):
    """Everybody at once, or two things at once, is refused."""
    assert "say who" in host.run("pass", *arguments, code=2).stderr


def test_a_dry_run_changes_nothing(host):
    """What would be let through is shown, and stays as it is."""
    host.put({KEY: b"%d/0/0" % (NOW - 9)})
    assert "ann@example.com" in host.run("pass", "ann@*", "--dry-run").stdout
    host.run("pass", "--trust", "192.0.2.1", "--dry-run")
    assert host.all() == {KEY: b"%d/0/0" % (NOW - 9)}


def test_purge_deletes_what_has_expired(host):
    """Triplets never retried in time, those long unused, broken ones and old pools go."""
    kept = {
        KEY: b"%d/0/0" % (NOW - HOUR),
        b"a/b/c": b"%d/%d/1" % (NOW - 30 * DAY, NOW - 20 * DAY),
        b"/client/192.0.2.0": b"%d/0/5" % (NOW - DAY),
    }
    gone = {
        b"a/b/d": b"%d/0/0" % (NOW - 3 * DAY),
        b"a/b/e": b"%d/%d/1" % (NOW - 90 * DAY, NOW - 40 * DAY),
        b"a/b/f": b"broken",
        b"/client/192.0.3.0": b"%d/0/5" % (NOW - 36 * DAY),
        b"/pool/example.com/x/y": b"192.0.2.0",
        b"/pool/12345678": b"%d/0/0" % (NOW - 3 * DAY),
    }
    many = {b"x/%d/y" % number: b"%d/0/0" % (NOW - 9 * DAY) for number in range(500)}
    host.put(kept | gone | many)
    assert json.loads(host.run("purge", "--json").stdout) == {"purged": len(gone) + len(many)}
    assert host.all() == kept
    assert host.run("purge").stdout == "0 purged.\n"
