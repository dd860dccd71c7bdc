"""Input that is made to confuse, and paths that are not what they seem."""

from __future__ import annotations

import os
import stat
import time

import pytest

from greylist.store.berkeley import due, repair
from greylist.store.berkeley.permissions import lock_path
from greylist.triplet import DAY
from tests.reliability.corruption import mark_dirty
from tests.reliability.endless import fuzz, memory
from tests.reliability.harness import ask_until_answered, key, request
from tests.reliability.test_trouble import ON_STDERR, fatal

pytest_plugins = ["tests.reliability.fixtures"]

PASS = b"action=dunno\n\n"
DEFER = b"action=defer_if_permit Service is temporarily unavailable\n\n"


def triplet(client: bytes, sender: bytes, recipient: bytes) -> bytes:
    lines = [b"request=smtpd_access_policy", b"client_address=" + client, b"sender=" + sender]
    return b"\n".join([*lines, b"recipient=" + recipient, b"", b""])


@pytest.mark.parametrize("what", ["database", "lock"])
@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "fifo", "directory"])
def test_strange_paths(house, what, kind):
    """A path that is no regular file is refused, at once, with the remedy."""
    path = house.path if what == "database" else lock_path(house.path)
    victim = house.directory / "victim"
    if kind == "symlink":
        victim.write_text("precious")
    if "symlink" in kind:
        os.symlink(victim, path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mkdir(path)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1), 20) == b""
    assert "mend it: " in fatal(process)
    assert not victim.exists() or victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["env/log.0000000002", "env/__db.003", "rewritten", "due.new"])
@pytest.mark.parametrize("kind", ["fifo", "directory"])
def test_strange_files_of_ours(house, name, kind):
    """What is no file where libdb or we would have one is refused in words, or made way for."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    path = f"{house.path}.{name}"
    if os.path.exists(path):
        os.unlink(path)
    (os.mkfifo if kind == "fifo" else os.mkdir)(path)
    mark_dirty(house)
    process = house.filter(**ON_STDERR)
    if not process.ask(request(2), 20):
        assert path in fatal(process)
        (os.unlink if kind == "fifo" else os.rmdir)(path)
    assert ask_until_answered(house, request(2), 1)[0] == DEFER
    assert {key(1), key(2)} == set(house.entries())
    assert not house.copies()


@pytest.mark.parametrize("text", [b"", b"1700000000\n", bytes(11), b"1700000000\0"])
def test_a_check_after_a_power_cut(house, text):
    """What a check left of the time, or a power cut of that, is in no check's way."""
    path = due.repair_path(house.path)
    with open(path, "wb") as file:
        file.write(text)
    os.close(repair.open_lock(house.path))


def test_no_repair_where_a_file_is_somebodys_own(house):
    """A database that somebody has repaired by hand, and called so, is not written to."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    mark_dirty(house)
    path = due.repair_path(house.path)
    with open(path, "wb") as file:
        file.write(b"precious" * 100)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(2), 20) == DEFER
    process.end()
    assert "repair is not greylist's, and has to be moved away" in process.errors()
    with open(path, "rb") as file:
        assert file.read() == b"precious" * 100


def test_no_quarantine_into_a_directory_of_somebodys_own(house):
    """A directory that has the name of an unfinished copy, and something else in it, stays."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    own = house.data / "greylist.db.quarantine" / "notes"
    own.parent.mkdir()
    own.write_text("precious")
    with open(house.path, "r+b") as file:
        file.write(bytes(512))
    mark_dirty(house)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(2), 20) == b""
    assert "quarantine is not greylist's, and has to be moved away" in fatal(process)
    assert own.read_text() == "precious"
    own.unlink()
    assert ask_until_answered(house, request(2), 1)[0] == DEFER


def test_world_writable_directory(house):
    """A directory in which anybody may put files is refused."""
    house.data.chmod(0o777)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1)) == b""
    assert "world-writable; mend it: chmod 0700" in fatal(process)


def test_no_settings_of_libdbs_own(house):
    """A file that would have libdb keep the log elsewhere is refused, and nothing is set aside."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    path = house.data / "greylist.db.env" / "DB_CONFIG"
    path.write_text("set_lg_dir /nowhere\n")
    mark_dirty(house)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(2)) == b""
    assert f"{path} has libdb do other than greylist asks for; mend it: " in fatal(process)
    path.unlink()
    assert ask_until_answered(house, request(2), 1)[0] == DEFER
    assert {key(1), key(2)} == set(house.entries())
    assert not house.copies()


@pytest.mark.parametrize("name", ["", ".lock", ".env"])
def test_world_writable_files(house, name):
    """What others can write to is refused, unless they cannot get there."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    path = house.path + name
    os.chmod(path, os.stat(path).st_mode | stat.S_IWOTH)
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    house.data.chmod(0o755)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1)) == b""
    assert f"{path} is world-writable; mend it: chmod o-w" in fatal(process)
    os.chmod(path, os.stat(path).st_mode & ~stat.S_IWOTH)
    assert ask_until_answered(house, request(1), 1)[0] == DEFER


@pytest.mark.root
def test_files_of_another_user(house):
    """Another user's database is refused, and nothing of it is changed."""
    ask_until_answered(house, request(1), 1)
    os.chown(house.path, 12345, 12345)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1)) == b""
    assert "belongs to 12345" in fatal(process)


def test_modes(house):
    """All files are their owner's alone."""
    ask_until_answered(house, request(1), 1)
    for directory, folders, files in os.walk(house.data):
        for name in folders:
            assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) == 0o700
        for name in files:
            assert stat.S_IMODE(os.stat(os.path.join(directory, name)).st_mode) == 0o600, name


def test_keys_do_not_collide(house):
    """No slash, percent sign or NUL in an address makes one triplet's key another's."""
    parts = [b"a", b"a/b", b"a%2fb", b"a%252fb", b"a%", b"a\0", b"", b"/", b"//", b"=", b"client"]
    process = house.filter()
    for sender in parts:
        for recipient in parts:
            if recipient:
                assert process.ask(triplet(b"192.0.2.1", sender, recipient)) == DEFER
    process.end()
    assert len(house.entries()) == len(parts) * (len(parts) - 1)


def test_no_key_is_a_client_entry(house):
    """No request makes an entry of another kind, whose keys start with a slash."""
    process = house.filter()
    for client in (b"/client", b"/", b"//x"):
        process.ask(triplet(client, b"x", b"y"))
    process.end()
    assert not any(
        entry.startswith(b"/client/") and entry.count(b"/") == 2 for entry in house.entries()
    )
    assert not any(entry.startswith(b"/") for entry in house.entries())


def test_log_is_not_forged(house):
    """No value ends a line of the log or passes for another attribute."""
    house.configure(quiet="no")
    process = house.filter(**ON_STDERR)
    process.ask(triplet(b"192.0.2.1", b"x, recipient=forged\r\0\x1b[2J", "é\u2028".encode()))
    process.end()
    lines = [line for line in process.errors().split("\n") if "action=" in line]
    assert len(lines) == 1
    assert "sender=x,\\x20recipient=forged\\x0d\\x00\\x1b\\x5b2J" in lines[0]


def test_exponential_pattern(house):
    """A whitelist's pattern takes linear time, whatever it is."""
    (house.directory / "nogreylist").write_text("(a+)+$\n(a|aa)+$\n(.*)*x\n")
    started = time.monotonic()
    reply, _ = ask_until_answered(house, triplet(b"192.0.2.1", b"a" * 500 + b"!", b"b!"), 1)
    assert reply == DEFER
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("shift", [3 * DAY, -3 * DAY, 4000 * DAY, -4000 * DAY])
def test_clock(house, shift):
    """Whichever way the clock jumped, a client is let through after the delay."""
    house.configure(delay="1s")
    now = int(time.time()) + shift
    store = house.store()
    store.transact(lambda entries: entries.put(key(1), b"%d/%d/5" % (now - 600, now), 0))
    store.close()
    replies = []
    deadline = time.monotonic() + 20
    while PASS not in replies and time.monotonic() < deadline:
        replies.append(ask_until_answered(house, request(1), 1)[0])
    assert replies[-1] == PASS


def test_memory(house):
    """A filter does not grow over its requests: ten million in the long run."""
    memory(house, 30_000)


def test_fuzzed_requests(house):
    """Any bytes: an answer to each request in the frame, and a hang-up where there is none."""
    counts = fuzz(house, 10_000, seed=1)
    assert counts["out of the frame"] >= 2
