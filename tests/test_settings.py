"""The settings file."""

from __future__ import annotations

import pytest

from greylist import settings
from greylist.settings import SETTINGS, Settings, SettingsError, load, parse_time


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.delenv("GREYLIST_CONFIG", raising=False)
    return tmp_path / "greylist.cf"


def read(file, text):
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(str(file))


def test_defaults(file, monkeypatch):
    """Without a file the defaults are in force."""
    monkeypatch.setattr(settings, "DEFAULT_PATH", str(file))
    found = load()
    assert found.database == "/var/lib/greylist/greylist.db"
    assert found.whitelist == "/etc/postfix/nogreylist"
    assert (found.delay, found.durable, found.verbose) == (300, False, 0)
    assert found.syslog_facility == "mail"
    assert (found.action, found.reply) == ("defer_if_permit", "Service is temporarily unavailable")


def test_file_by_environment(file, monkeypatch):
    """GREYLIST_CONFIG names the file; a file that is named must exist."""
    monkeypatch.setenv("GREYLIST_CONFIG", str(file))
    with pytest.raises(FileNotFoundError):
        load()
    file.write_text("delay = 1m\n")
    assert load().delay == 60
    with pytest.raises(FileNotFoundError):
        load(str(file) + ".other")


def test_form_of_main_cf(file):
    """Comments, blank lines, continuation lines and spaces are as in main.cf."""
    text = (
        "# comment\n\n"
        "delay=5m\n"
        "   # a comment within\n"
        "reply =   Come\n"
        "# and one without\n"
        "\n"
        "   back\n"
        "\tlater # not a comment\n"
        "  durable = yes? no: still the reply\n"
        "verbose = 2"
    )
    found = read(file, text)
    assert found.delay == 300
    assert found.reply == "Come back later # not a comment durable = yes? no: still the reply"
    assert found.verbose == 2
    assert not found.durable


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("300", 300), ("300s", 300), ("5m", 300), ("12h", 43200), ("2d", 172800),
     ("1w", 604800)],
)  # fmt: skip
def test_times(text, seconds):
    """A time is a number and a unit as in Postfix."""
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-1", "1.5h", "5 m", "5x", "5M", "٣", "9" * 20])
def test_bad_times(text):
    """Anything else is no time."""
    with pytest.raises(SettingsError, match="bad time"):
        parse_time(text)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("delays = 5m", "unknown setting 'delays'"),
        ("delay = soon", "delay: bad time 'soon'"),
        ("delay", "'delay' is not of the form"),
        ("= 5", "'= 5' is not of the form"),
        ("durable = maybe", "durable: 'maybe' is neither yes nor no"),
        ("durable = YES", "durable: 'YES' is neither yes nor no"),
        ("database = greylist.db", "database: 'greylist.db' is not an absolute path"),
        ("verbose = 4", "verbose: '4' is out of range"),
        ("lock_timeout = 0", "lock_timeout: '0' is out of range"),
        ("syslog_facility = post", "syslog_facility: unknown syslog facility 'post'"),
        ("reply =", "reply: '' is not a line of printable ASCII"),
        ("reply = a\x00b", "is not a line of printable ASCII"),
        (b"reply = a\xffb", "is not a line of printable ASCII"),
        (b"\xff\xfe = 1", "unknown setting"),
    ],
)
def test_errors_name_file_and_line(file, line, reason):
    """A wrong line is an error that names the file and the line."""
    line = line if isinstance(line, bytes) else line.encode()
    with pytest.raises(SettingsError) as caught:
        read(file, b"# one\n\nverbose = 1\n" + line + b"\n")
    assert str(caught.value).startswith(f"{file}:4: ")
    assert reason in str(caught.value)
    str(caught.value).encode()  # it can be logged


def test_every_setting_has_a_default_that_it_accepts():
    """The table is consistent: defaults parse, names are attributes, help is a sentence."""
    found = Settings()
    for setting in SETTINGS:
        assert getattr(found, setting.name) == setting.parse(setting.default)
        assert setting.help.endswith(".")
        assert setting.name in Settings.__annotations__
