"""A database's URL: each form is read, and each mistake named with its place, without a secret."""

from __future__ import annotations

import pytest

from greylist.settings import SettingsError, load
from greylist.store.valkey.url import parse

FORMS = [
    ("valkey://h", ("tcp", False, [("h", 6379)], "", "", "", "", 0)),
    ("redis://h:7/3", ("tcp", False, [("h", 7)], "", "", "", "", 3)),
    ("valkeys://h", ("tcp", True, [("h", 6379)], "", "", "", "", 0)),
    ("rediss://u:p%40%3a@[::1]:7/1", ("tcp", True, [("::1", 7)], "", "", "u", "p@:", 1)),
    ("VALKEY://:p@192.0.2.1/", ("tcp", False, [("192.0.2.1", 6379)], "", "", "", "p", 0)),
    ("redis://u@h", ("tcp", False, [("h", 6379)], "", "", "u", "", 0)),
    ("valkey+unix:///run/v%20k/s?db=2", ("unix", False, [], "/run/v k/s", "", "", "", 2)),
    ("redis+unix://u:p@/s", ("unix", False, [], "/s", "", "u", "p", 0)),
    (
        "valkey+sentinel://:p@a,b:7,[::1]/mail/4",
        ("sentinel", False, [("a", 26379), ("b", 7), ("::1", 26379)], "", "mail", "", "p", 4),
    ),
    ("valkeys+sentinel://a/m", ("sentinel", True, [("a", 26379)], "", "m", "", "", 0)),
    ("valkey+cluster://a,b:7", ("cluster", False, [("a", 6379), ("b", 7)], "", "", "", "", 0)),
]

MISTAKES = [
    ("relative/path", "not an absolute path"),
    ("", "not an absolute path"),
    ("http://h", "no URL such as"),
    ("valkey+tls://h", "there is no valkey+tls://"),
    ("valkeys+unix:///s", "there is no valkeys+unix://"),
    ("valkey://", "the host is missing"),
    ("valkey://:secret@", "the host is missing"),
    ("valkey://h:0", "port '0' is out of range"),
    ("valkey://h:65536", "out of range"),
    ("valkey://h:", "port '' is out of range"),
    ("valkey://h:x", "out of range"),
    ("valkey://::1", "stands in brackets"),
    ("valkey://[::1", "[IPv6 address]:port"),
    ("valkey://[::1]x", "[IPv6 address]:port"),
    ("valkey://h/x", "not the number of a database"),
    ("valkey://h/1/2", "not the number of a database"),
    ("valkey://a,b", "several hosts"),
    ("valkey://h?db=1", "question mark"),
    ("valkey://:sec%zzret@h", "hexadecimal digits"),
    ("valkey://:secret @h", "printable ASCII"),
    ("valkey://:sécret@h", "printable ASCII"),
    ("valkey+unix://s", "no absolute path"),
    ("valkey+unix:///" + 107 * "s", "no absolute path"),
    ("valkey+unix:///s?x=1", "unknown 'x'"),
    ("valkey+sentinel://a,b", "name of the group"),
    ("valkey+cluster://a/1", "no other database than 0"),
    ("valkey+cluster://a,,b", "the host is missing"),
]


@pytest.mark.parametrize(("url", "meaning"), FORMS)
def test_forms(url, meaning):
    """A URL of each form says where the server is and who we are there."""
    a = parse(url)
    assert (a.kind, a.tls, a.hosts, a.path, a.name, a.user, a.password, a.db) == meaning


@pytest.mark.parametrize(("url", "text"), MISTAKES, ids=range(len(MISTAKES)))
def test_mistakes(url, text, tmp_path):
    """A mistake is named with its file and line; a password is never shown."""
    file = tmp_path / "greylist.cf"
    file.write_text(f"# comment\ndatabase = {url}\n")
    with pytest.raises(SettingsError) as error:
        load(str(file))
    assert str(error.value).startswith(f"{file}:2: database: ")
    assert text in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", [url for url, _ in FORMS])
def test_for_people(url):
    """A database's name for people is a URL of the same place, without who we are there."""
    shown = str(parse(url))
    again = parse(shown)
    assert not again.password
    assert not again.user
    assert (again.hosts, again.path, again.db) == (parse(url).hosts, parse(url).path, parse(url).db)
