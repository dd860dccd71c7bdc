"""``greylist dump``, ``load`` and ``forget``."""

from __future__ import annotations

import contextlib
import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import time

import pytest
from berkeley import open_store
from hypothesis import given
from hypothesis import strategies as st

from greylist.commands import dump_format
from greylist.commands.load import merge_entry
from greylist.commands.session import kept, opened, to_person
from greylist.settings import Settings
from greylist.store.batches import walk
from greylist.store.berkeley.backup import _has_whole_log
from greylist.store.memory import MemoryStore

from .mailhost import NOW, SCRIPT, Host

DAY = 86400
STRANGE = b"what \xfe ever"
ODD = {
    b"192.0.2.0/a\tb\n\\x41#\xff\x00/c": b"1/2/3",
    b"/client/192.0.2.0": b"%d/0/5" % NOW,
    b"# no comment": STRANGE,
    b"k/l/m": b"7/0/0",
}
PAIRS = st.dictionaries(st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=20))


@given(PAIRS)
def test_any_bytes_survive(pairs):
    """Reading what was written gives the same, one printable line an entry."""
    lines = list(dump_format.write(pairs.items()))
    assert len(lines) == len(pairs) + 2
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert dict(dump_format.read([line.encode() + b"\n" for line in lines])) == pairs


@given(st.lists(st.binary(max_size=40)))
def test_any_text_is_read_or_refused(lines):
    """Any bytes are entries, or a DumpError; nothing else."""
    with contextlib.suppress(dump_format.DumpError):
        assert all(key and value for key, value in dump_format.read(lines))


def test_a_dump_loads_as_it_was(host, tmp_path):
    """load(dump(x)) = x, into an empty database, whatever the bytes."""
    host.put(ODD)
    dump = host.script("dump").stdout
    (tmp_path / "other").mkdir()
    other = Host(tmp_path / "other")
    loaded = other.script("load", input=dump)
    assert loaded.stdout == b"3 added, 0 merged, 0 unchanged.\n"
    assert other.all() == {key: value for key, value in ODD.items() if value != STRANGE}
    assert loaded.stderr == b"1 left out, as no entries: #\\x20no\\x20comment\n"
    assert other.script("load", input=dump).stdout == b"0 added, 0 merged, 3 unchanged.\n"


@pytest.mark.parametrize(
    ("old", "new", "outcome", "expected"),
    [
        ((900, 0, "0"), (1000, 0, "0"), "merged", (1000, 900, "001")),
        ((900, 500, "03"), (950, 400, "01"), "merged", (950, 400, "03")),
        ((900, 0, "0"), (900, 0, "0"), "unchanged", (900, 0, "0")),
        ((900, 0, "0"), (10 * DAY, 0, "0"), "unchanged", (900, 0, "0")),
        ((10 * DAY, 0, "0"), (900, 0, "0"), "merged", (900, 0, "0")),
        (None, (10 * DAY, 0, "0"), "added", (10 * DAY, 0, "0")),
    ],
)
def test_both_have_the_triplet(old, new, outcome, expected):
    """What has expired is dropped; the older first attempt, the newer last, the greater count."""

    def value(ctime, atime, count):
        return b"%d/%d/%s" % (NOW - ctime, atime and NOW - atime, count.encode())

    entries = MemoryStore([] if old is None else [(b"a/b/c", value(*old))])
    assert merge_entry(Settings(), NOW, entries, (b"a/b/c", value(*new))) == outcome
    assert entries.get(b"a/b/c") == value(*expected)


@pytest.mark.parametrize(("old", "new"), [(b"garbage", b"%d/0/0"), (b"%d/0/0", b"garbage")])
def test_a_value_that_is_none_is_never_kept_for_one(old, new):
    """A value that cannot be read gives way to one that can."""
    good = b"%d/0/0" % NOW
    old, new = (text.replace(b"%d", b"%d" % NOW) for text in (old, new))
    entries = MemoryStore([(b"a/b/c", old)])
    merge_entry(Settings(), NOW, entries, (b"a/b/c", new))
    assert entries.get(b"a/b/c") == good


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("c/c/c 1/0/0", "is not a key, a tab and a value"),
        ("c/c/c\\q\t1/0/0", "has a backslash that is not \\xHH"),
        ("\t1/0/0", "is not a key, a tab and a value"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_taken_in(host, broken, words):
    """Exit status 1, the number of the line, and the database is as it was."""
    text = f"a/a/a\t1/0/0\n# a comment\n\nb/b/b\t2/0/0\n{broken}\nd/d/d\t4/0/0\n"
    result = host.run("load", code=1, input=text)
    assert "line 5: " in result.stderr
    assert words in result.stderr
    assert "nothing was taken in" in result.stderr
    assert not host.database.exists()


def test_a_dump_cut_short_is_noticed(host):
    """A dump without its last line is not taken in; without its first one, it is a list."""
    text = "# greylist dump 1\na/a/a\t1/0/0\nb/b/b\t2/0/0\n"
    assert "cut short after 2 entries" in host.run("load", code=1, input=text).stderr
    assert not host.database.exists()
    assert host.run("load", input=text.partition("\n")[2]).stdout.startswith("2 added")


@pytest.mark.parametrize("text", ["", "\n", "# a comment\n"])
def test_an_empty_dump_is_one_that_failed(host, text):
    """Exit status 1; the dump of an empty database has a first line and a last one."""
    assert (
        "no entry in it: the dump that made it has failed"
        in host.run("load", code=1, input=text).stderr
    )
    whole = "# greylist dump 1\n# 0 entries\n"
    assert host.run("load", input=whole).stdout == "0 added, 0 merged, 0 unchanged.\n"


def test_no_file_is_an_empty_dump(host):
    """What comes from a pipe is copied, and read twice all the same."""
    assert host.script("load", stdin=subprocess.DEVNULL).returncode == 1
    with subprocess.Popen(["printf", "a/a/a\\t1/0/0\\n"], stdout=subprocess.PIPE) as pipe:
        loaded = host.script("load", stdin=pipe.stdout)
    assert loaded.stdout == b"1 added, 0 merged, 0 unchanged.\n"


def test_what_is_no_entry_is_named(host):
    """It reads well, but no filter has stored it: a made-up line, or another program's."""
    strange = ["nonsense\t1/0/0", "a/b/c\tgarbage", "/client/192.0.2.0\t5", "/instance/x\ty"]
    result = host.run("load", input="\n".join([*strange, "a/a/a\t1/0/0\n"]))
    assert result.stdout.startswith("1 added")
    names = "nonsense, a/b/c, /client/192.0.2.0, /instance/x"
    assert result.stderr == f"4 left out, as no entries: {names}\n"
    assert host.all() == {b"a/a/a": b"1/0/0"}


def test_a_key_without_a_value_is_not_dumped(host):
    """It could not be loaded; all else can."""
    host.put({b"a/a/a": b"1/0/0", b"b/b/b": b""})
    dump = host.script("dump").stdout
    assert dump == b"# greylist dump 1\na/a/a\t1/0/0\n# 1 entries\n"
    assert host.script("load", input=dump).returncode == 0


def _write_pairs(settings, ready):
    """Change 40 entries that lie far apart, always together, until killed."""
    store = open_store(settings.database, 60, to_person())
    for number in itertools.count():
        value = b"%d/0/0" % (number + 1)
        store.transact(
            lambda e, v=value: [e.put(b"%05d/pair/x" % (n * 500), v, 0) for n in range(40)]
        )
        time.sleep(0.001)  # or the log would be replaced faster than it can be copied
        if number == 100:
            ready.set()


def test_a_log_that_is_incomplete_is_noticed(tmp_path):
    """A copy between whose logs one is missing is made again, not recovered."""
    directory = tmp_path / "x.env"
    directory.mkdir()
    for number in (7, 8):
        (directory / f"log.{number:010}").touch()
    assert _has_whole_log(str(tmp_path / "x"), "log.0000000007")
    assert not _has_whole_log(str(tmp_path / "x"), "log.0000000006")
    (directory / "log.0000000010").touch()
    assert not _has_whole_log(str(tmp_path / "x"), "log.0000000007")


def test_a_dump_is_of_one_moment(host):
    """While a writer changes entries together, no dump has some of them changed only."""
    host.put({b"%05d/single/x" % n: b"%d/0/0" % NOW for n in range(20_000)})
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    writer = context.Process(target=_write_pairs, args=(host.settings, ready), daemon=True)
    writer.start()
    try:
        assert ready.wait(60)
        numbers = []
        for _ in range(5):
            with kept(host.settings).backup() as entries:
                dumped = dict(entries)
            values = {value for key, value in dumped.items() if b"pair" in key}
            assert len(values) == 1
            assert len(dumped) == 20_040
            numbers.append(int(values.pop().partition(b"/")[0]))
    finally:
        writer.kill()
        writer.join()
    assert numbers == sorted(set(numbers))


def test_a_walk_in_batches_sees_what_stays_once(host):
    """While entries come and go between the batches, each that stays is seen exactly once."""
    host.put({b"%06d/a/b" % n: b"%d/0/0" % NOW for n in range(0, 4000, 2)})
    with opened(host.settings) as store:
        seen = []
        for number, (key, _) in enumerate(walk(store)):
            seen.append(key)
            if number % 500 == 0:
                store.transact(lambda e, n=number: e.put(b"%06d/a/b" % (2 * n + 1001), b"1/0/0", 0))
                store.transact(lambda e, n=number: e.delete(b"%06d/a/b" % (3998 - n)))
    gone = range(1998, 4000, 500)
    stays = {b"%06d/a/b" % n for n in range(0, 4000, 2) if n not in gone}
    assert stays <= set(seen)
    assert all(a < b for a, b in itertools.pairwise(seen))


def test_no_room_for_the_copy(host, monkeypatch):
    """A dump that would fill the disk is refused before it begins."""
    host.put(ODD)
    monkeypatch.setattr("greylist.store.berkeley.backup.has_room", lambda _: False)
    assert "no room for a copy" in host.run("dump", code=3).stderr


@pytest.mark.parametrize("arguments", [["dump"], ["list"], ["list", "--json"], ["metrics"]])
def test_output_that_nobody_takes(host, arguments):
    """A reader that has seen enough is no error; a disk that is full is one, of the output."""
    host.put({b"192.0.2.%d/a@x/b@y" % n: b"%d/0/0" % NOW for n in range(250)})
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed, open("/dev/full", "wb") as full:
        done = host.script(*arguments, stdout=closed)
        assert (done.returncode, done.stderr) == (0, b"")
        done = host.script(*arguments, stdout=full)
        assert done.returncode == 1
        assert done.stderr == b"Error: No space left on device\n"


def test_forget_takes_what_matches(host):
    """The selectors are those of list; --dry-run only shows."""
    host.put({b"192.0.2.%d/a@x/b@y" % n: b"%d/0/0" % NOW for n in range(5)})
    shown = host.run("forget", "--client", "192.0.2.0/31", "--dry-run").stdout
    assert shown.count("a@x") == 2
    assert len(host.all()) == 5
    assert host.run("forget", "--client", "192.0.2.0/31").stdout == "2 forgotten.\n"
    assert len(host.all()) == 3
    assert "No entry matches" in host.run("forget", "nobody", code=1).stderr


def test_forgetting_much_needs_a_word(host):
    """More than 100 entries are not forgotten without --yes; everything never by accident."""
    host.put({b"192.0.2.%d/a@x/b@y" % n: b"%d/0/0" % NOW for n in range(101)})
    assert "101 entries match: give --yes" in host.run("forget", "a@x", code=2).stderr
    assert "say what to forget" in host.run("forget", "--yes", code=2).stderr
    assert len(host.all()) == 101
    assert json.loads(host.run("forget", "a@x", "--yes", "--json").stdout) == {"forgotten": 101}
    assert host.all() == {}


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_dump_leaves_no_copy(host, tmp_path, sent, group):
    """However a dump ends, its copy of the database in TMPDIR goes with it."""
    host.put({b"%d/a/b" % number: b"1/0/0" for number in range(20_000)})
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    environment = {**os.environ, "GREYLIST_CONFIG": str(host.config), "TMPDIR": str(scratch)}
    with subprocess.Popen(
        [SCRIPT, "dump"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as dump:
        assert dump.stdout.readline()  # the rest is more than the pipe takes
        assert list(scratch.glob("greylist-*/*.db"))
        (os.killpg if group else os.kill)(dump.pid, sent)
        dump.communicate(timeout=20)
    deadline = time.monotonic() + 20
    while os.listdir(scratch) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.listdir(scratch)


def test_a_dump_leaves_no_copy(host, tmp_path):
    """At the end of a dump its copy has gone."""
    host.put({b"k/a/b": b"1/0/0"})
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "GREYLIST_CONFIG": str(host.config)}
    environment["TMPDIR"] = str(tmp_path / "tmp")
    done = subprocess.run([SCRIPT, "dump"], env=environment, capture_output=True, check=True)
    assert b"k/a/b" in done.stdout
    assert not os.listdir(tmp_path / "tmp")
