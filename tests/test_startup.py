"""What a filter loads before its first answer: each import is paid by every connection."""

from __future__ import annotations

import os
import subprocess
import sys

from conftest import DEFERRED, request

FORBIDDEN = {
    "argparse", "ast", "asyncio", "click", "contextlib", "ctypes", "dataclasses", "datetime",
    "enum", "filelock", "greylist.cli", "importlib.util", "inspect", "ipaddress", "json", "logging",
    "pathlib", "re", "runpy", "signal", "socket", "struct", "subprocess", "tempfile", "threading",
    "tomllib", "traceback", "typing",
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


def test_modules(place):
    """A filter that has answered has loaded bsddb3, re2 and C modules, and nothing dear."""
    from conftest import SCRIPT

    place.whitelist.write_bytes(b"^10\\.\n")
    place.run(data=request())  # the first one of all makes the database, which is another road
    reader, writer = os.pipe()
    filter = subprocess.run(
        [sys.executable, "-c", PROBE.format(out=writer, script=SCRIPT)],
        env=place.environment,
        input=request() + request(client_address="10.0.0.1"),
        capture_output=True,
        pass_fds=[writer],
        check=True,
    )
    os.close(writer)
    with open(reader) as pipe:
        modules = set(pipe.read().split("\n"))
    assert filter.stdout.startswith(DEFERRED)
    assert {"bsddb3", "re2", "greylist.policy"} <= modules
    # What the site's own start-up loads is not the filter's doing.
    assert modules & FORBIDDEN == set()
