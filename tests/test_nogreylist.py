"""nogreylist.example, which most installations start with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from greylist.client import organization
from greylist.whitelist.lines import rule
from greylist.whitelist.matcher import Patterns
from greylist.whitelist.prefilter import required

TEXT = (Path(__file__).parent.parent / "nogreylist.example").read_bytes()
LINES = [line for line in TEXT.splitlines() if line.startswith(b"client_name=")]
PATTERNS = Patterns(TEXT)

NAMES = """
mail-yw1-f172.google.com mail-dm6nam10on2071.outbound.protection.outlook.com
sonic306-20.consmr.mail.ne1.yahoo.com mout.gmx.net mout.web.de mout-xforward.kundenserver.de
mout-us-1.mail.com mout.perfora.net mailout04.t-online.de pv50p00im-ztdg10012001.me.com
send193.i.mail.ru fallback20.i.mail.ru fallback1.mail.ru fallback3.m.smailru.net
forward502a.mail.yandex.net forwardcorp1o.mail.yandex.net mail-40133.protonmail.ch
mail2.protonmail.ch fhigh-a3-smtp.messagingengine.com sender4-op-o12.zoho.com
out203-205-221-153.mail.qq.com m16.mail.126.com out20-1.mail.aliyun.com out1-1.mail.alibaba.com
smtp-23.smtpout.orange.fr smtp3-g21.free.fr resqmta-a2p-640029.sys.comcast.net
14.mo583.mail-out.ovh.net smtp-bc09.mail.infomaniak.ch mx0a-0031df01.pphosted.com
dispatch1-us1.ppe-hosted.com us-smtp-delivery-124.mimecast.com mail190.messagelabs.com
mail1.bemta34.messagelabs.com esa5.hgst.iphmx.com esa.microchip.iphmx.com
outbound-ip7a.ess.barracuda.com mail51.euc1.prod.hydra.sophos.com refb01.tmes.trendmicro.eu
repost01.tmes.trendmicro.com mx-relay19-hz1.antispameurope.com cluster-e.mailcontrol.com
out13-173.antispamcloud.com delivery.antispam.mailspamprotection.com asp.reflexion.net
a8-31.smtp-out.amazonses.com a1.smtp-out.eu-west-1.amazonses.com
s.xtrwnvrh.outbound-mail.sendgrid.net m42-132.mailgun.net mail150.suw14.mcdlv.net
mail148.suw18.rsgsv.net mail7.suw11.mcsv.net mail180-17.suw31.mandrillapp.com
mta-174-91-231.evernote.com.sparkpostmail.com mta201.spmta.com mta202a-ord.mtasv.net
sc-ord-mta120.mtasv.net o171.p8.mailjet.com ke.d.sender-sib.com bi.d.mailin.fr
ccm27.constantcontact.com smtp07-ia2-sp4.mta.salesforce.com cr80.mta.exacttarget.com
mx199.a.outbound.createsend.com e3i165.smtp2go.com aib29agh124.zrh1.oracleemaildelivery.com
mta-out5.pod20.usw2.zdsys.com web01.groups.io mail01.groups.io out-25.smtp.github.com
66-220-144-178.mail-mxout.facebook.com 66-220-155-147.mail-mail.facebook.com mail321.linkedin.com
mailb-ge.linkedin.com spruce-goose-az.twitter.com outbound4.ebay.com mxphxpool1032.ebay.com
mx1.paypal.com mx15.phx.paypal.com mail.steampowered.com smtp-02.steampowered.com mta1.battle.net
smtp-out-1.amazon.com smtp01.citigroup.com netmail3.thehartford.com mx.southwest.com
""".split()


def match(name, **attributes):
    """Return the line that matches a client of this name."""
    request = {b"client_address": b"203.0.113.7", b"client_name": name.encode()}
    request |= {key.encode(): value.encode() for key, value in attributes.items()}
    return PATTERNS.match(b"203.0.113.7/a@example.com/b@example.org", request)


def test_sound():
    """Each line compiles, the list is dated, and it stays short."""
    assert PATTERNS.errors == []
    assert re.search(rb"^# Dated: 20\d\d-\d\d-\d\d$", TEXT, re.MULTILINE)
    assert 50 < len(LINES) < 100
    assert len(set(LINES)) == len(LINES)


def test_sources():
    """Each client_name= line stands below a comment with its source."""
    source = False
    for line in TEXT.splitlines():
        if line.startswith(b"client_name="):
            assert source, line
        else:
            source = bool(re.search(rb"\[[APR]\]$", line))


@pytest.mark.parametrize("name", NAMES)
def test_service(name):
    """A service's name matches; nothing that another domain's owner can make up does."""
    assert match(name)
    assert match(name.upper())
    domain = organization({b"client_name": name.encode(), b"client_address": b"192.0.2.1"}).decode()
    domain = domain or ".".join(name.split(".")[-2:])
    host = name.removesuffix(domain)
    for made_up in (
        f"{name}.evil.example",
        f"{host}evil-{domain}",
        f"{host}{domain.replace('.', '-')}.example",
        f"{host}{domain[:-1]}",
        name.replace(".", "x"),
        "unknown",
    ):
        assert not match(made_up), made_up
    assert not match("unknown", sender=f"a@{name}", helo_name=name, reverse_client_name=name)
    assert not match("mail.evil.example", sender=name, recipient=f"{name}@example.org")


@pytest.mark.parametrize("line", LINES)
def test_line(line):
    """Each line is tied to the name's end, begins with a whole word, and has a name in the test."""
    patterns = Patterns(line)
    assert line.endswith(b"$")
    assert re.match(rb"(?:\^|\\\.|-)", rule(line)[1])
    assert any(patterns.match(b"", {b"client_name": name.encode()}) for name in NAMES)


def test_no_expression_is_compiled():
    """A filter whose client is on the list nowhere needs no RE2."""
    for line in TEXT.splitlines():
        parsed = rule(line)
        if parsed and parsed[0] != b"client_address":
            assert required(parsed[1]), line


def test_people_in_trouble():
    """Mail from this machine or to postmaster is never greylisted; nobody escapes by that."""

    def pair(client, sender, recipient):
        request = {
            b"client_address": client, b"client_name": b"unknown", b"sender": sender,
            b"recipient": recipient,
        }  # fmt: skip
        return PATTERNS.match(b"/".join([client, sender, recipient]), request)

    assert pair(b"127.0.0.1", b"a@example.com", b"b@example.org")
    assert pair(b"::1", b"a@example.com", b"b@example.org")
    assert pair(b"192.0.2.1", b"a@example.com", b"postmaster@example.org")
    assert pair(b"192.0.2.1", b"", b"Abuse@example.org")
    for sender, recipient in [
        (b"a@example.com", b"b@example.org"),
        (b"x/postmaster@example.com", b"b@example.org"),
        (b"postmaster@example.com", b"b@example.org"),
        (b"a@example.com", b"b+/postmaster@example.org"),
        (b"a@example.com", b"b/abuse@example.org"),
        (b"a@example.com", b"notpostmaster@example.org"),
    ]:
        assert not pair(b"192.0.2.1", sender, recipient)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("client_address", "10.1.2.3"),
        ("client_address", "172.31.0.1"),
        ("client_address", "192.168.1.1"),
        ("client_address", "fd12::1"),
        ("client_address", "192.0.2.25"),
        ("client_address", "198.51.100.9"),
        ("sender", "a@example.com"),
        ("sender", "a@sub.example.net"),
        ("recipient", "sales@example.org"),
        ("recipient", "b@example.org"),
    ],
)
def test_suggestions(attribute, value):
    """Each line that nogreylist.example has as a comment does what it is there for."""
    patterns = Patterns(re.sub(rb"(?m)^#(?=[a-z_]+=)", b"", TEXT))
    assert patterns.errors == []
    request = {
        b"client_address": b"203.0.113.1", b"client_name": b"unknown",
        b"sender": b"a@b", b"recipient": b"c@d",
    }  # fmt: skip
    assert not patterns.match(b"203.0.113.1/a@b/c@d", request)
    assert patterns.match(b"", request | {attribute.encode(): value.encode()})
