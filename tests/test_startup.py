"""What a filter loads before its first answer: each import is paid by every connection."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import DEFERRED, SCRIPT, request
from settled import write
from valkey_server import ValkeyServer

FORBIDDEN = {
    "argparse", "ast", "asyncio", "bsddb3", "click", "collections", "contextlib", "ctypes",
    "dataclasses", "datetime", "enum", "filelock", "functools", "greylist.cli",
    "greylist.whitelist.postgrey", "importlib", "inspect", "ipaddress", "json", "logging",
    "operator", "pathlib", "re", "re2",
    "runpy", "signal", "socket", "struct", "subprocess", "tempfile", "threading", "tomllib",
    "traceback", "types", "typing", "weakref",
}  # fmt: skip

PROBE = """
import os, sys
before = set(sys.modules)
def leave(status):
    os.write({out}, "\\n".join(set(sys.modules) - before).encode())
    leave_at_once(status)
leave_at_once, os._exit = os._exit, leave
del sys.modules["__main__"]
with open({script!r}) as file:
    code = compile(file.read(), {script!r}, "exec")
exec(code, {{"__name__": "__main__"}})
"""


def loaded(place):
    """Return what a filter has loaded that has answered a request."""
    place.run(data=request())  # the first one of all makes the database, which is another road
    reader, writer = os.pipe()
    filter = subprocess.run(
        [sys.executable, "-c", PROBE.format(out=writer, script=SCRIPT)],
        env=place.environment,
        input=request(sender="bounce-1234@example.com"),
        capture_output=True,
        pass_fds=[writer],
        check=True,
    )
    os.close(writer)
    with open(reader) as pipe:
        modules = set(pipe.read().split("\n"))
    assert filter.stdout == DEFERRED
    assert "greylist.policy" in modules
    return modules  # what the site's own start-up loads is not the filter's doing


def test_modules(place):
    """A filter loads C modules, and nothing dear."""
    write(place.whitelist, b"^(10|172)\\.\n")
    modules = loaded(place)
    assert "re2._re2" in modules
    assert modules & FORBIDDEN == set()


@pytest.mark.parametrize(
    "text", [b"", b"client_address=10.0.0.0/8\n", b"^10\\.\n@example\\.net/\n"]
)
def test_without_re2(place, text):
    """A filter does without RE2 while no line that needs it is in question."""
    write(place.whitelist, text)
    assert loaded(place) & (FORBIDDEN | {"re2._re2"}) == set()


def test_a_shared_database(place):
    """With a database that several hosts share, nothing of Berkeley DB's is loaded."""
    with ValkeyServer() as server:
        place.configure(database=server.url)
        modules = loaded(place)
    assert "hiredis.hiredis" in modules
    assert modules & (FORBIDDEN | {"bsddb3._pybsddb", "ssl", "hashlib"}) == set()
    assert not any(name.startswith("greylist.store.berkeley") for name in modules)
