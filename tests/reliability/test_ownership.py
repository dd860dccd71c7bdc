"""Files that were never ours stay as they are, whatever ``database`` says; what was, is served."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bsddb3 import db
from readable import NOBODY

from greylist.store import StoreError
from greylist.store.berkeley.environment import home
from greylist.store.berkeley.ownership import claim
from greylist.store.berkeley.permissions import check, lock_path
from greylist.store.berkeley.purge import RECORD
from greylist.store.berkeley.store import load_all
from greylist.system import is_in_system, is_system
from tests.reliability.corruption import mark_dirty
from tests.reliability.harness import ask_until_answered, key, request
from tests.reliability.test_hostile import DEFER, PASS
from tests.reliability.test_trouble import ON_STDERR, fatal

pytest_plugins = ["tests.reliability.fixtures"]

READING = (
    ["list"],
    ["stats"],
    ["metrics"],
    ["dump"],
    ["purge"],
    ["check"],
    ["forget", "a@example.com", "--yes"],
    ["pass", "a@example.com"],
    ["pass", "--trust", "192.0.2.1"],
    ["explain", "--client-address", "192.0.2.1", "--recipient", "a@example.com"],
)
"""Commands that use the database, and take over none."""

DUMP = b"192.0.2.1/a@example.com/b@example.org\t1700000000/1700000600/1\n"


def run(house, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "greylist", "--config", str(house.config), *arguments]
    return subprocess.run(command, input=data, capture_output=True, timeout=60, check=False)


def everything(directory: Path) -> dict[str, tuple]:
    """Return all that there is below a directory: names, kinds, modes, times and bytes."""
    found = {}
    for folder, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            about = (status.st_mode, status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
            if stat.S_ISREG(status.st_mode):
                with open(os.open(path, os.O_RDONLY | os.O_NOATIME), "rb") as file:
                    about += (status.st_atime_ns, status.st_size, file.read(1 << 24))
            found[path] = about
    return found


def btree(path: str, kind: int = db.DB_BTREE, environment=None) -> None:
    """Make a database of another program's, with an entry as greylist.pl has them."""
    database = db.DB(environment)
    database.open(path, dbtype=kind, flags=db.DB_CREATE, mode=0o600)
    old = int(time.time()) - 3600
    database.put(key(1), b"%d/%d/1" % (old, old + 600))
    database.close()


def text(path: str) -> None:
    """Write what might be a configuration, older than anything that is done to it."""
    Path(path).write_text("myhostname = mail.example.org\n" * 20)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def plain(path: str, entries: dict[bytes, bytes], flags: int = 0) -> None:
    """Make a BTree, with these flags of libdb's."""
    database = db.DB()
    database.set_flags(flags)
    database.open(path, dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o600)
    for name, value in entries.items():
        database.put(name, value)
    database.close()


def records(path: str) -> None:
    """Make a database of numbered records, which is a BTree by its magic number."""
    database = db.DB()
    database.open(path, dbtype=db.DB_RECNO, flags=db.DB_CREATE, mode=0o600)
    database.append(b"first")
    database.close()


def several(path: str) -> None:
    """Make a file with two databases in it."""
    for name in ("one", "two"):
        database = db.DB()
        database.open(path, name, dbtype=db.DB_BTREE, flags=db.DB_CREATE, mode=0o600)
        database.put(key(1), b"1700000000/1700000600/1")
        database.close()


def linked(path: str) -> None:
    """Make a database that has another name too."""
    btree(path)
    os.link(path, os.path.join(os.path.dirname(path), "backup"))


POSTSCREEN = {b"192.0.2.%d" % number: b"1700000000;0;0;1700000000" for number in range(200)}
POSTGREY = {b"192.0.2.0/a@example.com/b@example.org": b"1700000000,1700000600"}
PATHS = {
    b"/var/www/index.html": b"1700000000",
    b"2026/11/page.html": b"1700000000",
    b"c:/music/song": b"1700000000",
    b"http://www.example.org/index.html": b"1700000000",
    b"192.0.2.1/a@example.com/b@example.org": b"12345",
}


def sqlite(path: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE connect (a)")
    connection.commit()
    connection.close()


def of_a_service(path: str) -> None:
    """Make what postgrey has: a BTree with the log and the regions of its environment beside it."""
    environment = db.DBEnv()
    flags = db.DB_INIT_TXN | db.DB_INIT_MPOOL | db.DB_INIT_LOG | db.DB_INIT_LOCK | db.DB_CREATE
    environment.open(os.path.dirname(path), flags, 0o600)
    btree(os.path.basename(path), environment=environment)
    environment.close()


def with_folder(path: str) -> None:
    """Make a text file with a directory where our environment would be."""
    text(path)
    os.mkdir(home(path))
    text(os.path.join(home(path), "pyvenv.cfg"))


def with_lock(path: str) -> None:
    """Make a file where our lock file would be, and none at the database's path."""
    text(lock_path(path))


def emptied(path: str) -> None:
    """Make a BTree that was large once: of its first MiB nothing is left."""
    entries = {b"message %06d" % number: bytes(1000) for number in range(4000)}
    plain(path, entries)
    database = db.DB()
    database.open(path, dbtype=db.DB_BTREE)
    for name in sorted(entries)[:3900]:
        database.delete(name)
    database.close()


def linked_environment(path: str) -> None:
    """Make another program's environment, and a link to it in the place of ours."""
    other = os.path.join(os.path.dirname(path), "other")
    os.mkdir(other)
    of_a_service(os.path.join(other, "data.db"))
    os.symlink(other, home(path))


def sparse_lock(path: str) -> None:
    """Make a file that begins with zeros where our lock file would be."""
    with open(lock_path(path), "wb") as file:
        file.truncate(1 << 40)


STRANGERS = {
    "text": text,
    "empty": lambda path: Path(path).touch(),
    "one byte": lambda path: Path(path).write_bytes(b"x"),
    "directory": os.mkdir,
    "fifo": os.mkfifo,
    "symlink": lambda path: os.symlink("/dev/null", path),
    "hash": lambda path: btree(path, db.DB_HASH),
    "SQLite": sqlite,
    "service": of_a_service,
    "folder": with_folder,
    "lock": with_lock,
    "environment file": lambda path: text(home(path)),
    "records": records,
    "duplicates": lambda path: plain(path, {key(1): b"1700000000/0/0"}, db.DB_DUP),
    "several": several,
    "hard link": linked,
    "postscreen": lambda path: plain(path, POSTSCREEN),
    "postgrey": lambda path: plain(path, POSTGREY),
    "large values": lambda path: plain(path, {b"image": bytes(100_000)}),
    "emptied": emptied,
    "paths": lambda path: plain(path, PATHS),
    "linked environment": linked_environment,
    "sparse lock": sparse_lock,
}


@pytest.mark.parametrize(("number", "kind"), list(enumerate(STRANGERS)))
def test_strangers_are_left_alone(house, number, kind):
    """What was never ours is refused in words, and nothing shows that it was looked at."""
    house.configure(auto_whitelist=5)
    STRANGERS[kind](house.path)
    before = everything(house.data)
    process = house.filter(**ON_STDERR)
    assert process.ask(request(1), 20) == b""
    assert "mend it: " in fatal(process)
    process.end()
    every = (*READING, ["load"])
    for arguments in every if kind == "text" else [["load"], every[number % len(every)]]:
        done = run(house, *arguments, data=DUMP)
        assert done.returncode, arguments
        assert b"Traceback" not in done.stderr
        assert house.path.encode() in done.stdout + done.stderr, (arguments, done)
    assert everything(house.data) == before


@pytest.mark.parametrize("arguments", READING, ids=" ".join)
def test_who_only_reads_takes_over_nothing(house, arguments):
    """A database of greylist.pl's, or a backup, stays as it is until a request comes."""
    house.configure(auto_whitelist=5)
    btree(house.path)
    before = everything(house.data)
    done = run(house, *arguments)
    assert done.returncode in ({0, 1} if arguments == ["check"] else {3})
    assert b"has not been used by greylist yet" in done.stdout + done.stderr
    assert everything(house.data) == before
    assert ask_until_answered(house, request(1), 1)[0] == PASS
    assert b"has not been used" not in run(house, *arguments).stderr


@pytest.mark.parametrize("how", ["filter", "load", "import"])
def test_taking_over(house, tmp_path, how):
    """A database of greylist.pl's is taken over by the first request, by load and by import."""
    btree(house.path)
    if how == "load":
        assert run(house, "load", data=DUMP).returncode == 0
    elif how == "import":
        btree(str(tmp_path / "other.db"))
        assert run(house, "import", str(tmp_path / "other.db")).returncode == 0
    assert ask_until_answered(house, request(1), 1)[0] == PASS
    assert run(house, "list").stdout.count(b"@example.org") == 1 + (how == "load")


@pytest.mark.parametrize("gone", ["environment", "logs", "lock"])
def test_ours_without_a_part(house, gone):
    """A database of ours is known by its record or its environment, to the commands too."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    house.verify()
    if gone == "environment":
        shutil.rmtree(home(house.path))
    elif gone == "logs":
        for name in os.listdir(home(house.path)):
            if name.startswith("log."):
                os.unlink(os.path.join(home(house.path), name))
    else:
        os.unlink(lock_path(house.path))
    assert b"s1@example.com" in run(house, "list").stdout
    assert not house.copies()


def test_ours_without_environment_and_damaged(house):
    """A file of ours that is no database any more is set aside, as it is named in the record."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    shutil.rmtree(home(house.path))
    Path(house.path).write_bytes(b"rubbish" * 1000)
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    assert len(house.copies()) == 1


def test_backup_without_triplets(house):
    """A backup of ours in which the purging has left nothing is ours."""
    plain(house.path, {RECORD: b"192.0.2.1/a@example.com/b@example.org"})
    assert ask_until_answered(house, request(1), 1)[0] == DEFER


@pytest.mark.parametrize("how", ["in place", "new file", "new host"])
def test_restored_backup(house, tmp_path, how):
    """A copy of ours that is put back is served by the filter, and elsewhere too."""
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    house.verify()
    backup = shutil.copy(house.path, tmp_path / "backup")
    shutil.rmtree(home(house.path))
    if how != "in place":
        os.unlink(house.path)
    if how == "new host":
        os.unlink(lock_path(house.path))
    shutil.copyfile(backup, house.path)
    if how != "new host":
        assert b"s1@example.com" in run(house, "list").stdout
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    assert key(1) in house.entries()
    assert not house.copies()


BESIDE = (
    "greylist.db.new",
    "greylist.db.bak",
    "greylist.db.1700000000",
    "80000001.abc",
    "greylist.db.env/log.txt",
    "greylist.db.env/old.backup",
    "greylist.db.env/README",
)


@pytest.mark.parametrize("when", ["creation", "recovery", "quarantine", "dump"])
def test_files_beside_ours(house, when):
    """Somebody's own files in our directories stay, whatever is done to ours."""
    if when != "creation":
        assert ask_until_answered(house, request(1), 1)[0] == DEFER
    os.makedirs(home(house.path), exist_ok=True)
    beside = [house.data / name for name in BESIDE if when != "creation" or "/" not in name]
    for path in beside:
        text(str(path))
    if when == "quarantine":
        with open(house.path, "r+b") as file:
            file.write(bytes(100))
    if when in {"recovery", "quarantine"}:
        mark_dirty(house)
    assert ask_until_answered(house, request(1), 1)[0] == DEFER
    assert run(house, "dump").stdout.count(b"s1@example.com") == 1
    copied = [Path(copy) for copy in house.copies()]
    assert bool(copied) == (when == "quarantine")
    for path in beside:
        moved = [copy / path.relative_to(house.data) for copy in copied]
        assert any(one.is_file() for one in [path, *moved]), path


def test_environment_that_another_filter_makes(house):
    """A filter may make the environment while another looks whose the place is."""
    path = home(house.path)
    stop = time.monotonic() + 1.5
    maker = os.fork()
    if maker == 0:
        while time.monotonic() < stop + 10:
            os.mkdir(path)
            os.rmdir(path)
        os._exit(0)
    try:
        while time.monotonic() < stop:
            claim(house.path, adopt=True)
    finally:
        os.kill(maker, signal.SIGKILL)
        os.waitpid(maker, 0)


SYSTEM = (
    "/",
    "/etc",
    "/usr",
    "/bin",
    "/var",
    "/var/lib",
    "/tmp",
    "/home",
    "/root",
    "/dev",
    "/proc",
)


@pytest.mark.parametrize("directory", [*SYSTEM, "/usr/../etc", "/proc/self/root/etc", "/var/run"])
def test_directories_of_the_system(tmp_path, directory):
    """They are known whatever name they are given."""
    link = tmp_path / "link"
    link.symlink_to(directory)
    assert is_system(os.stat(directory))
    assert is_system(os.stat(link))
    assert not is_system(os.stat(tmp_path))


@pytest.mark.parametrize("directory", ["/etc/cron.d", "/usr/lib/systemd", "/proc/self/root/etc/x"])
def test_directories_in_trees_of_the_system(directory):
    """Where the system itself reads whatever file there is, a directory of root's is refused."""
    assert is_in_system(directory)
    assert not is_in_system("/usr/local/greylist")
    assert not is_in_system("/var/lib/greylist")


def test_no_database_in_a_directory_of_the_system():
    """The refusal comes before anything else, and names no remedy that would do harm."""
    for directory in ("/etc", "/var/lib", "/usr/bin", "/usr/../etc", "/etc/default"):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            if os.geteuid() == 0:  # were it not refused, this user could do nothing there
                os.setgroups([])
                os.setgid(NOBODY.pw_gid)
                os.setuid(NOBODY.pw_uid)
            try:
                check(f"{directory}/greylist-test.db", load_all)
            except StoreError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        with open(reader) as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        assert "is a directory of the system" in told
        assert "chmod" not in told
        assert "chown" not in told
