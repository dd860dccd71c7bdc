"""``greylist spf``, asking a DNS server on loopback."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys

import hypothesis
import pytest
from click.testing import CliRunner
from dns_server import BROKEN, SILENT, Zones, serving
from hypothesis import given
from hypothesis import strategies as st

from commands.mailhost import SCRIPT
from greylist.cli import cli
from greylist.commands.spf.networks import SpfError
from greylist.commands.spf.record import parse
from greylist.whitelist.matcher import Patterns
from greylist.whitelist.postgrey import client_rule


@pytest.fixture
def zones():
    return Zones()


def spf(zones, *args, timeout="10"):
    """Run the command within this process; return click's result."""
    with serving(zones) as server:
        command = ["spf", "--server", server, "--timeout", timeout, *map(str, args)]
        result = CliRunner().invoke(cli, command, prog_name="greylist")
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def networks(zones, *args):
    """Return the networks printed."""
    done = spf(zones, *args)
    assert (done.exit_code, done.stderr) == (0, "")
    return re.findall("^client_address=(.*)$", done.stdout, re.MULTILINE)


def refused(zones, *args, timeout="10"):
    """Return what is said of a domain that fails; nothing is printed then."""
    done = spf(zones, *args, timeout=timeout)
    assert done.exit_code == 1
    assert done.stdout == ""
    return done.stderr


def test_addresses(zones):
    """Networks come in order, each once, host bits cleared, one within another left out."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.9 ip6:2001:db8::1/32 ip4:198.51.100.77/24 "
              "IP4:192.0.2.0/28 +ip4:198.51.100.0/25 -all")  # fmt: skip
    assert networks(zones, "example.com") == ["192.0.2.0/28", "198.51.100.0/24", "2001:db8::/32"]


def test_hosts(zones):
    """The terms a and mx stand for their names' addresses, with the lengths that they give."""
    zones.spf("example.com", "v=spf1 a mx/24//64 a:other.example/28 mx:other.example//48 ~all")
    zones.add("example.com", "A", "192.0.2.1")
    zones.add("example.com", "AAAA", "2001:db8::1")
    zones.add("example.com", "MX", "10 m1.example.com.", "20 m2.example.com.")
    zones.add("m1.example.com", "A", "198.51.100.9")
    zones.add("m2.example.com", "AAAA", "2001:db8:2::9")
    zones.add("other.example", "A", "203.0.113.17")
    zones.add("other.example", "MX", "10 m3.example.com.")
    zones.add("m3.example.com", "AAAA", "2001:db8:3::9")
    assert networks(zones, "example.com") == [
        "192.0.2.1/32", "198.51.100.0/24", "203.0.113.16/28",
        "2001:db8::1/128", "2001:db8:2::/64", "2001:db8:3::/48",
    ]  # fmt: skip


def test_include_and_redirect(zones):
    """Includes and redirects are followed, through several records and in any case."""
    zones.spf("example.com", "V=SPF1 include:_SPF.example.com. redirect=last.example.com")
    zones.spf("_spf.example.com", "v=spf1 ip4:192.0.2.0/24 include:more.example.com ~all")
    zones.spf("more.example.com", "v=spf1 ip4:198.51.100.0/24 ?all")
    zones.spf("last.example.com", "v=spf1 ip4:203.0.113.0/24 -all")
    zones.add("example.com", "TXT", '"google-site-verification=x"', '"v=spf10 ip4:10.0.0.1"')
    assert networks(zones, "EXAMPLE.com.") == ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"]


def test_redirect_beside_all(zones):
    """Where there is an all, nothing behind it counts, and no redirect."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.1 -all ip4:192.0.2.2 redirect=missing.example")
    assert networks(zones, "example.com") == ["192.0.2.1/32"]


def test_exclusions(zones):
    """What an earlier mechanism excludes does not pass by a later one."""
    zones.spf("example.com", "v=spf1 -ip4:192.0.2.128/25 ~ip6:2001:db8::/33 ?include:no.example "
              "ip4:192.0.2.0/24 ip6:2001:db8::/32 ip4:192.0.2.200 -all")  # fmt: skip
    zones.spf("no.example", "v=spf1 ip4:192.0.2.0/26 ip4:203.0.113.1 -all")
    assert networks(zones, "example.com") == ["192.0.2.64/26", "2001:db8:8000::/33"]


def test_long_record(zones):
    """A record of several strings is put together without spaces, and comes over TCP if long."""
    addresses = [f"10.{number}.0.0/32" for number in range(0, 200, 2)]
    zones.spf("example.com", "v=spf1 " + " ".join(f"ip4:{a}" for a in addresses) + " -all")
    assert networks(zones, "example.com") == addresses
    assert len(zones.asked) == 2


def test_several_domains(zones):
    """Each domain has its lines, and a network of two of them one line; the list is dated."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.0/24 -all")
    zones.spf("example.net", "v=spf1 ip4:192.0.2.0/25 ip4:198.51.100.0/24 -all")
    done = spf(zones, "example.com", "example.net", "example.com.")
    assert re.fullmatch(
        "# Networks in SPF records, by greylist spf.\n# Dated: 20\\d\\d-\\d\\d-\\d\\d\n\n"
        "# example.com\nclient_address=192.0.2.0/24\n\n"
        "# example.net\nclient_address=198.51.100.0/24\n",
        done.stdout,
    )


def test_as_a_whitelist(zones):
    """What is printed is read as nogreylist, and as a file of whitelist_clients."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.0/24 ip6:2001:db8::/32 -all")
    text = spf(zones, "example.com").stdout.encode()
    for patterns in (Patterns(text), Patterns(text, client_rule)):
        assert patterns.errors == []
        for address in (b"192.0.2.7", b"2001:db8::7"):
            assert patterns.match(b"", {b"client_address": address})
        assert not patterns.match(b"", {b"client_address": b"198.51.100.7"})


def test_internationalized_name(zones):
    """A name may be given as people write it."""
    zones.spf("xn--bcher-kva.example", "v=spf1 ip4:192.0.2.1 -all")
    assert networks(zones, "bücher.example") == ["192.0.2.1/32"]


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ("v=spf1 +all", "+all lets everybody pass"),
        ("v=spf1 ip4:192.0.2.1 all", "all lets everybody pass"),
        ("v=spf1 ptr -all", "ptr is about each client"),
        ("v=spf1 -ptr:example.org -all", "-ptr:example.org is about each client"),
        ("v=spf1 exists:example.org -all", "exists:example.org is about each client"),
        ("v=spf1 exists:%{i}.spf.example.org -all", "exists:%{i}.spf.example.org has a macro"),
        ("v=spf1 include:%{d}.example.org -all", "include:%{d}.example.org has a macro"),
        ("v=spf1 a:%{o}/24 -all", "a:%{o}/24 has a macro"),
        ("v=spf1 redirect=%{d2}.example.org", "redirect=%{d2}.example.org has a macro"),
        ("v=spf1 include:a%%b.example.org -all", "has a macro"),
        ("v=spf1 ip4:192.0.2.0/33 -all", "ip4:192.0.2.0/33 has no network"),
        ("v=spf1 ip4:192.0.2 -all", "ip4:192.0.2 has no network"),
        ("v=spf1 ip4:2001:db8::1 -all", "ip4:2001:db8::1 has no network"),
        ("v=spf1 ip6:192.0.2.1 -all", "ip6:192.0.2.1 has no network"),
        ("v=spf1 ip4 -all", "ip4 is no mechanism"),
        ("v=spf1 ip4: -all", "ip4: is no mechanism"),
        ("v=spf1 a/33 -all", "a/33 has no network"),
        ("v=spf1 mx//129 -all", "mx//129 has no network"),
        ("v=spf1 include -all", "include is no mechanism"),
        ("v=spf1 include:example.org/24 -all", "include:example.org/24 is no mechanism"),
        ("v=spf1 include:a..b -all", "include:a..b has no domain"),
        ("v=spf1 exists -all", "exists is no mechanism"),
        ("v=spf1 all:example.org", "all:example.org is no mechanism"),
        ("v=spf1 ip4:192.0.2.1 -all:x", "-all:x is no mechanism"),
        ("v=spf1 ipv4:192.0.2.1 -all", "ipv4:192.0.2.1 is no mechanism"),
        ("v=spf1 ip4:192.0.2.1 ; -all", "; is no mechanism"),
        ("v=spf1 redirect=a.example redirect=b.example", "redirect= stands there twice"),
        ("v=spf1 redirect=", "redirect= has no domain"),
        ("v=spf1 ip4:0.0.0.0/0 -all", "0.0.0.0/0 is too wide"),
        ("v=spf1 ip4:0.0.0.0/1 ip4:128.0.0.0/1 -all", "0.0.0.0/1 is too wide"),
        ("v=spf1 ip6:2000::/3 -all", "2000::/3 is too wide"),
        ("v=spf1 a/0 -all", "0.0.0.0/0 is too wide"),
        ("v=spf1 include:missing.example -all", "missing.example: has no SPF record"),
        ("v=spf1 redirect=missing.example", "missing.example: has no SPF record"),
        ("v=spf1 include:silent.example -all", "DNS did not answer for silent.example"),
        ("v=spf1 mx:broken.example -all", "DNS did not answer for broken.example"),
        ("v=spf1 include:example.com -all", "example.com -> example.com: leads to itself"),
        ("v=spf1 include:b.example -all", "example.com -> b.example -> example.com: leads to"),
        ("v=spf1 a:n1.example a:n2.example a:n3.example -all", "a:n3.example: more than 2 look"),
        ("v=spf1 a:empty.example mx:empty.example mx:n1.example -all", "more than 2 look-ups"),
        ("v=spf1 mx:many.example -all", "mx:many.example finds more than 10 mail exchangers"),
        ("", "example.com: has no SPF record"),
        ("v=spf2.0/pra ip4:192.0.2.1", "example.com: has no SPF record"),
    ],
)  # fmt: skip
def test_refused(zones, record, words):
    """What is wrong in a record, or is no list of networks, is said by its name."""
    zones.add("example.com", "A", "192.0.2.1")
    if record:
        zones.spf("example.com", record)
    zones.spf("b.example", "v=spf1 redirect=example.com")
    zones.add("empty.example", "TXT", '"nothing"')
    zones.add("many.example", "MX", *(f"10 m{number}.example." for number in range(11)))
    zones.records["silent.example"] = SILENT
    zones.records["broken.example"] = BROKEN
    said = refused(zones, "example.com", timeout="0.3" if "silent" in record else "10")
    assert words in said
    assert said.startswith("Error: ")


@hypothesis.settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["ip4", "ip6", "a", "mx", "include", "all", "redirect", "exp", ":", "=",
                         "/", "//", "192.0.2.1", "2001:db8::", "9" * 5000, "%{i}", " ", "-", "é"])
        | st.text(max_size=3)
    ).map("".join)
)  # fmt: skip
def test_any_record(text):
    """Any text is a record, or what is wrong with it is said."""
    with contextlib.suppress(SpfError):
        parse("v=spf1 " + text)


def test_two_records(zones):
    """Two SPF records are none that counts."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.1 -all")
    zones.spf("example.com", "v=spf1 ip4:192.0.2.2 -all")
    assert "example.com: has several SPF records" in refused(zones, "example.com")


def test_ten_lookups(zones):
    """Ten terms may ask DNS, in all records together, and the eleventh may not."""
    terms = " ".join(f"include:i{number}.example" for number in range(9))
    zones.spf("example.com", f"v=spf1 {terms} redirect=last.example")
    for number in range(9):
        zones.spf(f"i{number}.example", f"v=spf1 ip4:192.0.2.{number * 2} -all")
    zones.spf("last.example", "v=spf1 ip4:198.51.100.1 -all")
    assert len(networks(zones, "example.com")) == 10
    zones.records["last.example"] = {}
    zones.spf("last.example", "v=spf1 ip4:198.51.100.1 a -all")
    zones.add("last.example", "A", "198.51.100.2")
    said = refused(zones, "example.com")
    assert "last.example: a is one look-up more than the 10 that SPF allows" in said


def test_null_mx(zones):
    """A domain that takes no mail has no exchangers."""
    zones.spf("example.com", "v=spf1 mx ip4:192.0.2.1 -all")
    zones.add("example.com", "MX", "0 .")
    assert networks(zones, "example.com") == ["192.0.2.1/32"]


def test_one_of_two_fails(zones):
    """If one domain fails, nothing is printed, and each that fails is named."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.1 -all")
    zones.spf("example.net", "v=spf1 ptr -all")
    said = refused(zones, "example.com", "example.net", "example.org")
    assert said.count("Error: ") == 2
    assert "example.net" in said
    assert "example.org" in said


def test_output(zones, tmp_path):
    """A file is replaced as a whole, and stays as it was when a domain fails."""
    path = tmp_path / "nogreylist.spf"
    zones.spf("example.com", "v=spf1 ip4:192.0.2.1 -all")
    done = spf(zones, "example.com", "--output", path)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    before = path.read_text()
    assert before.endswith("client_address=192.0.2.1/32\n")
    assert path.stat().st_mode & 0o777 == 0o644
    zones.records["example.com"] = BROKEN
    refused(zones, "example.com", "--output", path)
    assert path.read_text() == before
    assert os.listdir(tmp_path) == ["nogreylist.spf"]


@pytest.mark.parametrize("server", ["nonsense", "127.0.0.1:x", "[::1]:99999999"])
def test_wrong_server(server):
    """What is no address of a server is a mistake of usage."""
    done = CliRunner().invoke(cli, ["spf", "--server", server, "example.com"])
    assert done.exit_code == 2
    assert "--server" in done.stderr


def test_script(zones):
    """The installed script needs no settings for it, and ends with status 1 on a failure."""
    zones.spf("example.com", "v=spf1 ip4:192.0.2.1 -all")
    environment = {**os.environ, "GREYLIST_CONFIG": "/nonexistent/greylist.cf"}
    with serving(zones) as server:
        for domain, status in (("example.com", 0), ("example.net", 1)):
            done = subprocess.run(
                [SCRIPT, "spf", "--server", server, domain], env=environment,
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            assert done.returncode == status
            assert ("client_address=192.0.2.1/32\n" in done.stdout) == (status == 0)
            assert "Traceback" not in done.stderr


def test_without_dnspython():
    """Without dnspython, the command says what to install."""
    script = (
        "import sys; sys.modules['dns'] = None\n"
        "from greylist.cli import cli; cli(['spf', 'example.com'], prog_name='greylist')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "-m pip install dnspython" in done.stderr
    assert "Traceback" not in done.stderr
