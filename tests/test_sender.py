from __future__ import annotations

import pathlib
import tomllib

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.sender import normalize

SCHEMES = tomllib.loads(pathlib.Path(__file__).with_name("senders.toml").read_text())["scheme"]
SAME = [(one, scheme["form"]) for scheme in SCHEMES for one in scheme["same"]]
OTHER = [pair for scheme in SCHEMES for pair in scheme["other"]]


def test_sources():
    """Each scheme has a source, addresses that are one sender, and pairs that are not."""
    for scheme in SCHEMES:
        assert scheme["source"]
        assert len(scheme["same"]) >= 2, scheme["name"]
        assert scheme["other"], scheme["name"]


@pytest.mark.parametrize(("sender", "form"), SAME)
def test_one_sender(sender, form):
    """What a machine changes from mail to mail is left out."""
    assert normalize(sender.encode()) == form.encode()


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_two_senders(one, other):
    """What tells two people, two lists or two customers apart is kept."""
    assert normalize(one.encode()) != normalize(other.encode())


@pytest.mark.parametrize("form", sorted({form for _, form in SAME}))
def test_normal_form(form):
    """A normal form is its own."""
    assert normalize(form.encode()) == form.encode()


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (b"", b""),
        (b"postmaster", b"postmaster"),
        (b"postmaster-1", b"postmaster-1"),
        (b"Joe@Example.COM", b"joe@example.com"),
        (b"user0@example.com", b"user0@example.com"),
        (b"joe.2nd@example.com", b"joe.2nd@example.com"),
        (b"+joe@example.com", b"+joe@example.com"),
        (b"prvs=@example.com", b"prvs=@example.com"),
        (b"list-owner@1234.example.com", b"list-owner@1234.example.com"),
        (b'"a@b"@example.com', b'"a@b"@example.com'),
        (b"joe@home+list@example.com", b"joe@home@example.com"),
        (b"j\xc3\xb6rg-1@example.com", b"j\xc3\xb6rg-1@example.com"),
        (b"\xff@example.com", b"\xff@example.com"),
    ],
)
def test_other_senders(sender, expected):
    """A name, a word with a digit in it, the domain and the null sender stay as they are."""
    assert normalize(sender) == expected


UUID = "1a2b3c4d-5e6f-7890-abcd-ef0123456789"
SALESFORCE = "a-hu5amac.na63.bnc.salesforce.com"


@pytest.mark.parametrize(
    ("sender", "form"),
    [
        ("btv1==577ff0a0c16==ann==bob@example.com", "ann==bob@example.com"),
        ("btv1==a==ann@example.com", "ann@example.com"),
        ("srs0==t=b.example=joe@example.com", "srs0=b.example=joe@example.com"),
        ("srs0=h=t=x.bnc3.example=4b5c6132.av@example.com",
         "srs0=x.bnc3.example=#.#@example.com"),
        ("srs1==f.example===t=b.example=a=b@example.com",
         "srs1=f.example=b.example=a=b@example.com"),
        ("srs1=h=f.example==h=t=x.bnc3.example=4b5c6132.av@example.com",
         "srs1=f.example=x.bnc3.example=#.#@example.com"),
        ("list-owner-17-joe=example.com@example.com", "list-owner-#-#@example.com"),
        ("list-verp-17-joe=example.com@example.com", "list-verp-#-#@example.com"),
        ("list-bounces-17-bounces=example.com@example.com", "list-bounces-#-#@example.com"),
        ("verp-17-return-2024@example.com", "verp-#-return-2024@example.com"),
        ("returns-2024@example.com", "returns-#@example.com"),
        ("a+bounces-17-joe=example.com@example.com", "a@example.com"),
        ("bounces+deadbee1@example.com", "bounces+#@example.com"),
        ("msprvs1=17663abcde=a=b@example.com", "msprvs1=#=a=b@example.com"),
        ("msprvs1=17663abcdefghijk=a@example.com", "msprvs1=#=a@example.com"),
        ("bounce-4-x-6-joe=z@example.com", "bounce-#-x-6-joe=z@example.com"),
        ("bounce-4-5-6x-joe=z@example.com", "bounce-#-#-6x-joe=z@example.com"),
        ("bounce-4-5-6-x-y=z@example.com", "bounce-4-#-6-x-y=z@example.com"),
        ("a+srs=h=t=b.example=c=d@example.com", "a+srs=b.example=c=d@example.com"),
        ("a+srs=h=t=b.example=c+srs=d@example.com", "a+srs=b.example=c+srs=d@example.com"),
        ("a+srs=h=t=x.bnc3.example=4b5c6132.AV@example.com",
         "a+srs=x.bnc3.example=#.#@example.com"),
        ("bounce+12==joe==list-a@example.com", "bounce+#==list-a@example.com"),
        ("bounce+joe==a==b.example==list-a==w@example.com", "bounce+#==list-a==w@example.com"),
        ("bounce+joe==a==b.example==list-a==r@example.com", "bounce+#==list-a==r@example.com"),
        ("list-bounces-#-17@example.com", "list-bounces-#-#@example.com"),
        (f"list-bounces-{UUID}x-1@example.com",
         "list-bounces-#-5e6f-7890-abcd-ef0123456789x-1@example.com"),
        ("4b5c6132.avm.aacv@a1.bnc3.mailjet.com", "#.#@a1.bnc3.mailjet.com"),
        ("bounce-mc.us1_17.3-joe=example.com@example.com", "bounce-mc.us1_17.#@example.com"),
        ("bounce-mc.us1_17.3@mail1.mcsv.net", "bounce-mc.us1_17.#@mcsv.net"),
        ("bounce-md_30.56d6.v1-ab.cd@example.com", "bounce-md_30.#@example.com"),
        ("bounce-6_html-1-2-3-4@example.com", "bounce-#_html-#-#-3-#@example.com"),
        ("bounce-6_a_html-1-2-3-4@example.com", "bounce-#_a_html-#-#-3-#@example.com"),
        ("bounce-6_html-1-2-x-4@example.com", "bounce-#_html-1-2-x-4@example.com"),
        ("bounce-6_html-x-2-3-4@example.com", "bounce-#_html-x-2-3-4@example.com"),
        (f"a__b__c0de@mm.{SALESFORCE}", f"a__b__#@{SALESFORCE}"),
        ("m-a1b2c3d4e5f6g7h8i9k@bounce.linkedin.com", "m-#@bounce.linkedin.com"),
        ("b0123456789=joe@bounce.twitter.com", "b#@bounce.twitter.com"),
        (f"20250324135407{'f' * 27}-c39-x5@bounces.amazon.com", "#-c39-x5@bounces.amazon.com"),
        ("3abcdefghijkl@flex--joe.bounces.google.com", "3#@flex--joe.bounces.google.com"),
        (f"1ax{'b' * 28}-ann=example.com@a.hubspotemail.net",
         "1ax#-ann=example.com@a.hubspotemail.net"),
        ("107-fms-070.3@example.com", "107-fms-070.#@example.com"),
    ],
)  # fmt: skip
def test_the_least_of_a_scheme(sender, form):
    """The shortest code, one more separator than usual, a scheme within another."""
    assert normalize(sender.encode()).decode() == form


@pytest.mark.parametrize(
    "sender",
    [
        "a+srs=b.example=xy@example.com", "list-bounces--12@example.com",
        "msprvs1=17663abcd=a@example.com", "msprvs1=17663abcdefghijkl=a@example.com",
        "msprvs1=1a663abcdef=a@example.com", "bounces-ab12-17@example.com",
        "bounce-joe=example.com@example.com", "prvs=0123abcdef@example.com",
        "prvs=joe=ann@example.com", "prvs==0123abcdef@example.com",
        "prvs=0123abcdef1=joe@example.com", "prvs=012zzzzzz=joe@example.com",
        "prvs=abcdef0123=joe@example.com", "btv1====ann@example.com",
        "listbounces-17-joe=example.com@example.com", "list-bouncesx17@example.com",
        "abounces-17@example.com", "x-abounces-17@example.com", "return.1975@example.com",
        "owner-17@example.com", "bounces+deadbe1@example.com",
        "owner-4711@example.com", "returns-202@example.com",
        "bounce+ann.be9e4a-joe=example.com@example.com", "bounce+a1e0a8.be9e4a@example.com",
        "bounce+a1e0a8-joe=example.com@example.com",
        "bounce+a1.b2.c3-joe=example.com@example.com",
        "bounces+a1e0a8.be9e4a-joe=example.com@example.com",
        "srs1=h=f.example=xh=t=b.example=joe@example.com",
        "srs1xh=f.example==h=t=b.example=joe@example.com",
        f"0100018c1d2e3f4a-{UUID}-0000001@example.com",
        f"0100018c1d2e3f4a-{UUID}-x00000@example.com",
        "1a7-fms-070.3@example.com", "107-f2s-070.3@example.com", "107-2ms-070.3@example.com",
        "107-fms-a70.3@example.com", "107-fms-07a.3@example.com", "107_fms-070.3@example.com",
        "107-fms_070.3@example.com", "107-fms-070-3@example.com", "107-fms-070.x3@example.com",
        "107-fms-070.@example.com",
        "4b5c6132.avm@a1.example.com", "4b5c613.avm@a1.bnc3.mailjet.com",
        "4b5c6132.@a1.bnc3.mailjet.com",
        "bounce-mc.us1_17@example.com", "bounce-mc.us1_17.x3@example.com",
        "sentto-ann-1-2-joe=example.com@example.com", "v-zihe_abc_abc_abc_a@bounce.example.com",
        f"ann=example.com@mm.{SALESFORCE}", f"ann2__@mm.{SALESFORCE}",
        "ann__c0de@mm.hu5amac.na63.bnc.salesforce.com",
        "m-a1b2c3d4e5f6g7h8i9@bounce.linkedin.com", "bx123456789joe=a@bounce.twitter.com",
        f"20250324135407{'f' * 26}-c39@bounces.amazon.com",
        "3abcdefghijk@flex--joe.bounces.google.com",
        "1axb@a.hubspotemail.net", f"1ax{'b' * 27}@a.hubspotemail.net",
    ],
)  # fmt: skip
def test_nearly_a_scheme(sender):
    """What is one character away from a scheme stays as it is."""
    assert normalize(sender.encode()).decode() == sender


PARTS = sorted({part for sender, _ in SAME for part in sender.replace("@", "-").split("-")})


@hypothesis.settings(deadline=None)
@given(
    st.lists(st.sampled_from([*PARTS, "bounces", "joe=example.com", "12"]), max_size=6),
    st.sampled_from("-+_.="),
    st.sampled_from(sorted({sender.partition("@")[2] for sender, _ in SAME})),
)
def test_mixtures(parts, separator, domain):
    """Whatever the schemes' parts are put together to, there is a normal form."""
    sender = f"{separator.join(parts)}@{domain}".encode()
    assert len(normalize(sender)) <= len(sender)


@hypothesis.settings(deadline=None)
@given(st.binary(max_size=512))
def test_any_bytes(sender):
    """Any bytes have a normal form, no longer than they are."""
    assert len(normalize(sender)) <= len(sender)


@hypothesis.settings(deadline=None)
@given(
    st.sampled_from(
        [b"prvs=0123abcdef=", b"srs0=a=b=c.example=", b"SRS1=a=b.example==c=d=e.example="]
    ),
    st.integers(1, 40),
)
def test_nesting(prefix, times):
    """Schemes within schemes come to an end."""
    assert normalize((prefix * times)[:500] + b"joe@example.com").endswith(b"@example.com")
