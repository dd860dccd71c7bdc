"""The services that greylist takes over from, run for real on sockets of their own."""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import re
import shutil
import socket
import subprocess
import time

import pytest

USER = pwd.getpwuid(os.geteuid()).pw_name
GROUP = str(os.getegid())

PERL = r"""
use DB_File;
my ($file, %entries) = @ARGV;
tie my %db, 'DB_File', $file, O_CREAT|O_RDWR, 0644, $DB_BTREE or die "$!";
$db{$_} = $entries{$_} for keys %entries;
untie %db;
"""


def program(name):
    """Return where a program is; without it the test cannot be made."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin")
    if not found:
        pytest.skip(f"needs {name}")
    return found


@contextlib.contextmanager
def running(command, connect):
    """Run a service in the foreground and yield a connection to it."""
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            deadline = time.monotonic() + 30
            while True:
                assert process.poll() is None
                try:
                    connection = connect()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            with connection, connection.makefile("rwb") as stream:
                yield stream
        finally:
            _end(process)


def _end(process):
    """End a service; Net::Server misses a signal that comes just before it waits."""
    for _ in range(20):
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.5)
            return
    process.kill()


def ask(stream, **attributes):
    """Send a request and return the action."""
    attributes = {"request": "smtpd_access_policy", "protocol_state": "RCPT", **attributes}
    text = "".join(f"{name}={value}\n" for name, value in attributes.items())
    stream.write(text.encode() + b"\n")
    stream.flush()
    action = stream.readline()
    assert stream.readline() == b"\n"
    return action.decode().strip().removeprefix("action=")


@contextlib.contextmanager
def postgrey(directory, *options):
    """Run postgrey on a database in a directory; requests tell it the time."""
    path = str(directory / "socket")
    command = [program("postgrey"), f"--unix={path}", f"--dbdir={directory}", f"--user={USER}"]

    def connect():
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(path)
        except OSError:
            connection.close()
            raise
        return connection

    with running([*command, f"--group={GROUP}", *options], connect) as stream:
        yield stream


@contextlib.contextmanager
def sqlgrey(directory):
    """Run sqlgrey on an SQLite file in a directory; a retry passes after a second."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = directory / "sqlgrey.conf"
    config.write_text(
        f"user = {USER}\ngroup = {GROUP}\ninet = 127.0.0.1:{port}\nreconnect_delay = 0\n"
        f"db_type = SQLite\ndb_name = {directory}/sqlgrey.db\nadmin_mail =\n"
    )
    command = [program("sqlgrey"), "-f", str(config)]
    with running(command, lambda: socket.create_connection(("127.0.0.1", port))) as stream:
        yield stream


def perl_database(path, entries):
    """Make a BTree as greylist.pl makes it, with Perl's own DB_File."""
    if not _has_db_file():
        pytest.skip("needs Perl's DB_File")
    arguments = [text for entry in entries.items() for text in entry]
    subprocess.run([program("perl"), "-e", PERL, path, *arguments], check=True)


@functools.cache
def _has_db_file():
    command = [program("perl"), "-MDB_File", "-e1"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


EXAMPLE = "/usr/share/doc/postfix/examples/smtpd-policy/greylist.pl"
"""Where Debian's postfix-doc has it."""


def greylist_pl(directory, delay):
    """Return a copy of greylist.pl that keeps its database in a directory."""
    if not os.path.exists(EXAMPLE):
        pytest.skip(f"needs {EXAMPLE}")
    with open(EXAMPLE, encoding="utf-8") as file:
        text = file.read()
    for name, value in (("database_name", f"'{directory}/greylist.db'"), ("greylist_delay", delay)):
        text, places = re.subn(rf"(?m)^\${name}=.*$", f"${name}={value};", text)
        assert places == 1
    path = directory / "greylist.pl"
    path.write_text(text)
    path.chmod(0o644)
    return path
