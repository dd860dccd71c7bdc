"""Any text: the parsers of settings, whitelists, records and entries take it or say why not."""

from __future__ import annotations

import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st
from settled import settle

from greylist.settings import SETTINGS, Settings, SettingsError, load, parse_time
from greylist.store.berkeley.record import SIZE, Record
from greylist.triplet import Triplet, key, split_key
from greylist.whitelist.matcher import Patterns

NAMES = st.sampled_from([setting.name for setting in SETTINGS]) | st.text(max_size=20)
LINES = st.tuples(NAMES, st.sampled_from(["=", " = ", ""]), st.text(max_size=40)).map("".join)


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text())
@settings(deadline=None)
def test_settings_file(text):
    """A settings file is loaded, or SettingsError names the file and the line."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", errors="surrogatepass") as file:
        file.write(text)
        file.flush()
        settle(file.name)
        try:
            assert isinstance(load(file.name), Settings)
        except SettingsError as error:
            assert str(error).startswith(f"{file.name}:")  # noqa: PT017


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_settings_bytes(data):
    """Bytes that are no text are refused like any other rubbish."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        settle(file.name)
        try:
            load(file.name)
        except SettingsError:
            pass


@given(st.text())
def test_times(text):
    """A time is a number of seconds, or an error."""
    try:
        assert parse_time(text) >= 0
    except SettingsError:
        pass


@given(st.binary(max_size=300), st.binary(max_size=100))
@settings(deadline=None)
def test_whitelist(text, subject):
    """Each line of a whitelist matches or not, or is left out with a reason."""
    patterns = Patterns(text)
    found = patterns.match(subject)
    assert found is None or found in text
    lines = text.count(b"\n") + 1
    assert all(1 <= number <= lines and reason for number, reason in patterns.errors)


@given(st.binary(min_size=SIZE, max_size=SIZE) | st.binary(max_size=300))
def test_record(data):
    """The record is what was packed, or ValueError."""
    for text in (data, b"greylist 1 " + data):
        try:
            record = Record.unpack(text)
        except ValueError:
            continue
        assert Record.unpack(record.pack()).pack() == record.pack()


@given(st.binary(max_size=70))
def test_triplet(data):
    """A value is a triplet that packs to the same numbers, or ValueError."""
    try:
        triplet = Triplet.unpack(data)
    except ValueError:
        return
    assert Triplet.unpack(triplet.pack()) == triplet


PART = st.binary(max_size=20) | st.text(alphabet="a/%2fF5", max_size=8).map(str.encode)


@given(st.tuples(PART, PART, PART), st.tuples(PART, PART, PART))
def test_keys(one, other):
    """Two triplets have one key only if they are the same but for case."""
    one, other = ([part.lower() for part in parts] for parts in (one, other))
    assert (key(*one) == key(*other)) == (one == other)
    assert list(split_key(key(*one))) == one
