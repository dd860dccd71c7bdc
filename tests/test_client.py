from __future__ import annotations

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import greylist.client
from greylist.client import identify, identities, is_machine_made, organization, suspicious
from greylist.screening import screen
from greylist.settings import Settings


def client(name: bytes, address: bytes = b"192.0.2.7") -> dict[bytes, bytes]:
    return {b"client_name": name, b"client_address": address}


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        (b"mail-yw1-f172.google.com", b"google.com"),
        (b"MAIL-DM6NAM10ON2071.outbound.protection.OUTLOOK.com", b"outlook.com"),
        (b"a8-31.smtp-out.amazonses.com", b"amazonses.com"),
        (b"mout.gmx.net", b"gmx.net"),
        (b"mout.web.de", b"web.de"),
        (b"smtp1.wp.pl", b"wp.pl"),
        (b"mail.163.com", b"163.com"),
        (b"mta1.bbc.co.uk", b"bbc.co.uk"),
        (b"mail.example.com.au", b"example.com.au"),
        (b"smtp.u-tokyo.ac.jp", b"u-tokyo.ac.jp"),
        (b"mx.admin.gov.ch", b"gov.ch"),
        (b"example.org", b"example.org"),
        (b"co.uk", b""),
        (b"mail.example.kiev.ua", b"example.kiev.ua"),
        (b"mail.example.uk.com", b"example.uk.com"),
        (b"mail.example.gen.tr", b"example.gen.tr"),
        (b"mail.city.lg.jp", b"city.lg.jp"),
        (b"mail.example.github.io", b"example.github.io"),
        (b"mail.example.dyndns.org", b"example.dyndns.org"),
        (b"mail.foo.ck", b"mail.foo.ck"),
        (b"mail.www.ck", b"www.ck"),
        (b"mail.city.kawasaki.jp", b"city.kawasaki.jp"),
        (b"mail.a.b.kawasaki.jp", b"a.b.kawasaki.jp"),
        (b"mail.xn--85x722f.xn--55qx5d.cn", b"xn--85x722f.xn--55qx5d.cn"),
        (b"mail.example.nosuchtopleveldomain", b"example.nosuchtopleveldomain"),
        (b"mail.vmi123456.contaboserver.net", b"vmi123456.contaboserver.net"),
        (b"zeus.contaboserver.net", b"zeus.contaboserver.net"),
        (b"contaboserver.net", b"contaboserver.net"),
        (b"mail.s12345.onlinehome-server.info", b"s12345.onlinehome-server.info"),
        (b"7.mo550.mail-out.ovh.net", b"mail-out.ovh.net"),
        (b"mail.example.org.", b"example.org"),
        (b"unknown", b""),
        (b"", b""),
        (b"localhost", b""),
        (b".", b""),
        (b"mail..example.org", b""),
        (b"192.0.2.7", b""),
        (b"mail.exa mple.org", b""),
        (b"mail.ex/ample.org", b""),
        (b"m\xc3\xa4il.example.org", b""),
    ],
)
def test_organization(name, domain):
    """A verified name's organisation is a public suffix and a label, or a hoster's machine."""
    assert organization(client(name)) == domain


def test_no_name():
    """Without a client_name there is no organisation."""
    assert organization({b"client_address": b"192.0.2.7"}) == b""


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (b"p5b0e1c3d.dip0.t-ipconnect.de", b"91.14.28.61"),
        (b"91-14-28-61.provider.example", b"91.14.28.61"),
        (b"61.28.14.91.in.provider.example", b"91.14.28.61"),
        (b"host-28-61.provider.example", b"91.14.28.61"),
        (b"x091014028061.provider.example", b"91.14.28.61"),
        (b"5b0e1c3d.provider.example", b"91.14.28.61"),
        (b"ec2-54-240-8-31.compute-1.amazonaws.com", b"54.240.8.31"),
        (b"ns3012.ip-54-240-8.eu", b"54.240.8.31"),
        (b"static.31.8.240.54.clients.your-server.de", b"54.240.8.31"),
        (b"54-240-8-31.ip.linodeusercontent.com", b"54.240.8.31"),
        (b"cpe-77.socal.res.rr.com", b"192.0.2.7"),
        (b"customer77.dynamic.provider.example", b"192.0.2.7"),
        (b"vps-1f2e3d.vps.ovh.net", b"192.0.2.7"),
        (b"vmi123456.contaboserver.net", b"192.0.2.7"),
        (b"c17996.rivrw4.nsw.provider.example", b"192.0.2.7"),
        (b"awork118134.provider.example", b"192.0.2.7"),
        (b"slkcdslgw14poold234.slkc.provider.example", b"192.0.2.7"),
        (b"oldtown-106-1-2-250.abo.provider.example", b"192.0.2.7"),
        (b"5b-0e-1c.3d.provider.example", b"91.14.28.61"),
        (b"h028061.example", b"91.14.28.61"),
        (b"h-00c0ffee.provider.example", b"2001:db8::11:c0:ffee"),
        (b"2001-db8-0-0-0-0-c000-207.provider.example", b"2001:db8::c000:207"),
        (b"20010db8000000000000000000c0ffee.v6.provider.example", b"2001:db8::c0:ffee"),
    ],
)
def test_customers_of_a_provider(name, address):
    """A name made of the address, or of a provider's word for customers, is no organisation's."""
    assert organization(client(name, address)) == b""


@pytest.mark.parametrize(
    ("name", "address"),
    [
        (b"a8-31.smtp-out.amazonses.com", b"54.240.8.31"),
        (b"m42-132.mailgun.net", b"69.72.42.132"),
        (b"mail132-5.atl131.mandrillapp.com", b"198.2.132.5"),
        (b"o8.mta.dynamic.example.com", b"192.0.2.8"),
        (b"mx-240-8.example.com", b"54.240.8.31"),
        (b"lists7.example.com", b"192.0.2.7"),
        (b"smtp-8-31.example.com", b"54.240.8.31"),
        (b"node-7-8.example.com", b"192.0.2.7"),
        (b"node2033.example.com", b"192.0.2.7"),
        (b"h061061.example", b"91.14.28.61"),
        (b"node-0028-61.example.com", b"91.14.28.61"),
        (b"zeus.10086.example", b"192.0.2.7"),
        (b"zeus.dslworld.example", b"192.0.2.7"),
        (b"mailer20331124.example.com", b"192.0.2.7"),
    ],
)
def test_mail_servers_with_numbers(name, address):
    """A label of a mail server outweighs numbers, and one octet alone says nothing."""
    assert not is_machine_made(name, address)


@pytest.mark.parametrize(
    ("pool", "name", "expected"),
    [
        ("network", b"mail.example.com", b"192.0.2.0"),
        ("off", b"mail.example.com", b"192.0.2.0"),
        ("domain", b"mail.example.com", b"example.com"),
        ("domain", b"unknown", b"192.0.2.0"),
        ("domain", b"adsl-7.provider.example", b"192.0.2.0"),
    ],
)
def test_identity(pool, name, expected):
    """A client is its network, or with pool = domain the organisation of its name if any."""
    settings = Settings()
    settings.set("pool", pool)
    assert identify(client(name), settings) == expected


def test_exact_address():
    """Prefixes of 32 and 128 give the original's exact key."""
    settings = Settings()
    settings.set("ipv4_prefix", "32")
    settings.set("ipv6_prefix", "128")
    assert identify(client(b"unknown", b"192.0.2.7"), settings) == b"192.0.2.7"
    assert identify(client(b"unknown", b"2001:db8::7"), settings) == b"2001:db8::7"


@hypothesis.settings(deadline=None)
@given(st.binary(max_size=80), st.binary(min_size=1, max_size=40))
def test_any_bytes(name, address):
    """Whatever the name and address, an identity is not empty and a domain has no slash."""
    settings = Settings()
    settings.set("pool", "domain")
    assert identify(client(name, address), settings)
    assert b"/" not in organization(client(name, address))


# Suspicious or not


def sign(name=b"mx.example.com", helo=b"mx.example.com", address=b"192.0.2.7", **values):
    settings = Settings()
    settings.set("hostname", "Mail.example.org")
    for setting, value in values.items():
        settings.set(setting, value)
    request = {b"client_address": address, b"client_name": name, b"recipient": b"b@Example.org"}
    if helo is not None:
        request[b"helo_name"] = helo
    return suspicious(request, settings)


@pytest.mark.parametrize(
    ("name", "helo", "expected"),
    [
        (b"unknown", b"mx.example.com", "no verified name"),
        (b"", b"mx.example.com", "no verified name"),
        (b"dsl-12.example.com", b"mx.example.com", "a name made for a customer"),
        (b"host-2-7.example.com", b"mx.example.com", "a name made for a customer"),
        (b"mx.example.com", b"[192.0.2.7]", "an address as HELO name"),
        (b"mx.example.com", b"[IPv6:2001:db8::1]", "an address as HELO name"),
        (b"mx.example.com", b"192.0.2.7", "an address as HELO name"),
        (b"mx.example.com", b"2001:db8::1", "an address as HELO name"),
        (b"mx.example.com", b"localhost", "a HELO name without a dot"),
        (b"mx.example.com", b"localhost.", "a HELO name without a dot"),
        (b"mx.example.com", b"", "a HELO name without a dot"),
        (b"mx.example.com", b"mail.example.ORG", "our name as HELO name"),
        (b"mx.example.com", b"example.org.", "the recipient's domain as HELO name"),
        (b"mx.example.com", b"web.example.org", "the recipient's domain as HELO name"),
        (b"mx.example.com", b"badexample.org", ""),
        (b"web.example.org", b"web.example.org", ""),
        (b"mx.example.com", b"mx.example.com", ""),
        (b"MX.Example.COM.", b"other.example.net", ""),
        (b"mx.example.com", None, ""),
    ],
)
def test_suspicious(name, helo, expected):
    """Bots have no name, a customer's, or a HELO name that no server has."""
    assert sign(name, helo) == expected


def test_signs_in_a_request_that_lacks_attributes():
    """A missing name is none, and nobody's name can be compared with no recipient."""
    request = {b"client_address": b"192.0.2.7", b"helo_name": b"example.org"}
    assert suspicious(request, Settings()) == "no verified name"
    request[b"client_name"] = b"mx.example.com."
    assert suspicious(request, Settings()) == ""
    request[b"recipient"] = b"b@x@example.org"
    assert suspicious(request, Settings()) == "the recipient's domain as HELO name"


@pytest.mark.parametrize(
    ("setting", "name", "reason"),
    [
        ("all", b"mx.example.com", None),
        ("suspicious", b"mx.example.com", "client not suspicious"),
        ("suspicious", b"unknown", None),
        ("suspicious", b"dyn-7.example.com", None),
    ],
)
def test_greylist_clients(setting, name, reason):
    """Only the suspicious are greylisted, if that is wanted; nobody else's mail is looked up."""
    settings = Settings()
    settings.set("greylist_clients", setting)
    request = {
        b"client_address": b"192.0.2.7",
        b"client_name": name,
        b"recipient": b"b@example.org",
    }
    decision = screen(request, settings, [])
    assert (decision and decision.reason) == reason
    if decision:
        assert (decision.action, decision.verdict) == (b"dunno", "pass")


def test_many_clients_are_no_growth():
    """The domains of clients that were found out are not kept for ever."""
    sizes = set()
    for number in range(3000):
        name = b"mx%d.example%d.com" % (number, number)
        assert identities(client(name), Settings())[1] == b"example%d.com" % number
        sizes.add(len(greylist.client._found))
    assert max(sizes) == 1000
    assert identities(client(name), Settings()) is identities(client(name), Settings())


def test_names_of_odd_addresses():
    """The end of an IPv6 address in a name is a customer's; what is no address is in no name."""
    assert is_machine_made(b"h-5-a1b2.example.com", b"2001:db8::5:a1b2")
    assert not is_machine_made(b"mx.example.com", b"2001:db8::5:a1b2")
    assert not is_machine_made(b"gate.example.com", b"unknown")
