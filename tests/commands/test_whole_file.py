"""Files that commands put in the place of others."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

import pytest
from readable import NOBODY

from greylist.commands.whole_file import write_whole

SECONDS = 1.5


def swap(directory: str, fifo: str, victim: str) -> None:
    """Have one name be a FIFO and a link by turns, for ever."""
    path, new = os.path.join(directory, "out"), os.path.join(directory, "new")
    while True:
        os.link(fifo, new)
        os.rename(new, path)
        os.symlink(victim, new)
        os.rename(new, path)


@pytest.mark.root
def test_a_stream_that_is_swapped_for_a_link():
    """What stood there as a stream when root looked is no stream when root opens it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as place:  # others cannot enter pytest's own
        os.chmod(place, 0o755)
        write_while_swapped(Path(place))


def write_while_swapped(place: Path) -> None:
    """Write to a name in another user's directory, who has it lead to another file by turns."""
    victim, theirs = place / "victim", place / "theirs"
    victim.write_text("precious")
    theirs.mkdir()
    fifo = str(theirs / "fifo")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
    for path in (theirs, fifo):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    child = os.fork()
    if child == 0:
        try:
            os.setgid(NOBODY.pw_gid)
            os.setuid(NOBODY.pw_uid)
            swap(str(theirs), fifo, str(victim))
        finally:
            os._exit(1)
    end = time.monotonic() + SECONDS
    outcomes = set()
    try:
        while time.monotonic() < end:
            try:
                write_whole(str(theirs / "out"), "text")
                outcomes.add("written")
            except Exception as error:
                outcomes.add(str(error))
            assert victim.read_text() == "precious"
            while True:
                try:
                    os.read(reader, 65536)
                except BlockingIOError:
                    break
    finally:
        assert os.waitpid(child, os.WNOHANG)[0] == 0
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reader)
    assert "written" in outcomes
