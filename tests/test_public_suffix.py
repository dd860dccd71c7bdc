"""The public suffix list, by its own published test vectors."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.resources import files

import idna
import pytest
from public_suffixes import compact, source
from publicsuffixlist import PublicSuffixList

from greylist import public_suffix
from greylist.public_suffix import PATH, organizational_domain

VECTOR = re.compile(r"^checkPublicSuffix\('([^']*)', (?:null|'([^']*)')\);", re.MULTILINE)
VECTORS = VECTOR.findall((files("publicsuffixlist") / "test_psl.txt").read_text("utf-8"))


def in_dns(name: str) -> bytes:
    """Return a name in the form in which it comes from DNS."""
    return b".".join(idna.encode(label, uts46=True) if label else b"" for label in name.split("."))


def test_vectors():
    """There are vectors for each kind of rule."""
    assert len(VECTORS) > 70
    assert ("a.b.c.kobe.jp", "b.c.kobe.jp") in VECTORS
    assert ("www.www.ck", "www.ck") in VECTORS


@pytest.mark.parametrize(("name", "domain"), VECTORS)
def test_published_vector(name, domain):
    """The organisational domain is as the list's authors say; a leading dot makes it no name."""
    name = in_dns(name).lower()
    found = organizational_domain(name) if all(name.split(b".")) else b""
    assert found == in_dns(domain)


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        # Exceptions, and what stands below them.
        ("city.kawasaki.jp", "city.kawasaki.jp"),
        ("mail.city.kawasaki.jp", "city.kawasaki.jp"),
        ("other.kawasaki.jp", ""),
        ("mail.other.kawasaki.jp", "mail.other.kawasaki.jp"),
        # Wildcards below other rules.
        ("compute.amazonaws.com", "amazonaws.com"),
        ("eu-west-1.compute.amazonaws.com", ""),
        ("a.eu-west-1.compute.amazonaws.com", "a.eu-west-1.compute.amazonaws.com"),
        ("a.b.eu-west-1.rds.amazonaws.com", "a.b.eu-west-1.rds.amazonaws.com"),
        ("b.eu-west-1.rds.amazonaws.com", ""),
        ("mail.foo.webpaas.ovh.net", "mail.foo.webpaas.ovh.net"),
        # The private section.
        ("github.io", ""),
        ("a.b.github.io", "b.github.io"),
        ("mail.example.uk.com", "example.uk.com"),
        ("mail.example.kiev.ua", "example.kiev.ua"),
        # A label that is a rule elsewhere.
        ("co.example", "co.example"),
        ("mail.co.example", "co.example"),
        ("com", ""),
    ],
)
def test_kinds(name, domain):
    """Wildcards, exceptions, registries and companies that lend their domain out."""
    assert organizational_domain(name.encode()) == domain.encode()


def test_generated():
    """The file in the package is the list that pyproject.toml names, and says of which day."""
    with open(PATH, encoding="ascii") as file:
        text = file.read()
    assert text == compact(source())
    assert re.match(r"# The public suffix list of 20\d\d-\d\d-\d\d,", text)


def test_read_when_needed():
    """Of the list is read what a name asks for, and nothing before a name comes."""
    script = (
        "import sys; from greylist import client\n"
        "request = {b'client_address': b'192.0.2.7', b'client_name': b'unknown'}\n"
        "assert client.organization(request) == b''\n"
        "assert 'greylist.public_suffix' not in sys.modules\n"
        "request[b'client_name'] = b'mail.example.co.uk'\n"
        "assert client.organization(request) == b'example.co.uk'\n"
        "assert set(sys.modules['greylist.public_suffix']._rules) == {b'uk'}\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


def test_every_rule():
    """Each rule of the list, and names below it, are found as a plain reading of it finds them."""
    reference = PublicSuffixList(source().splitlines(), accept_unknown=True)
    for line in source().splitlines():
        rule = line.split(" ")[0].removeprefix("!")
        if not rule or rule.startswith("//"):
            continue
        below = rule.replace("*", "any")
        for name in (below, f"mail.{below}", f"a.b-c.{below}"):
            found = organizational_domain(in_dns(name))
            assert found == in_dns(reference.privatesuffix(name) or ""), name


def test_read_once(monkeypatch, tmp_path):
    """The rules of a top-level domain are read when its first name comes, and no others."""
    assert organizational_domain(b"mail.example.co.uk") == b"example.co.uk"
    assert all(rule.startswith(b"uk ") for rule in public_suffix._rules[b"uk"][:-1])
    monkeypatch.setattr(public_suffix, "PATH", str(tmp_path / "none"))
    assert organizational_domain(b"mail.example.org.uk") == b"example.org.uk"
    with pytest.raises(FileNotFoundError):
        organizational_domain(b"mail.example.co.nz")


def test_a_list_that_is_kept_open(monkeypatch, tmp_path):
    """Rules that are read later come from the list as it was opened, wherever its file is now."""
    monkeypatch.setattr(public_suffix, "_rules", {})
    monkeypatch.setattr(public_suffix, "_open", [])
    public_suffix.keep_open()
    monkeypatch.setattr(public_suffix, "PATH", str(tmp_path / "none"))
    assert public_suffix.organizational_domain(b"mail.example.co.uk") == b"example.co.uk"
    os.close(public_suffix._open[0])
