"""Child processes: what they may do, and what becomes of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from readable import NOBODY

from greylist import child, temporary


def ids() -> dict[str, list[str]]:
    """Return the real, effective, saved and file system's user and group of this process."""
    with open("/proc/self/status") as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    return {name: fields[name].split() for name in ("Uid", "Gid")}


def is_nobody_for_good() -> int:
    """Return 0 if this process is nobody in every way, and cannot be root again."""
    nobody = {"Uid": [str(NOBODY.pw_uid)] * 4, "Gid": [str(NOBODY.pw_gid)] * 4}
    if ids() != nobody:
        return 2
    try:
        os.seteuid(0)
    except PermissionError:
        return 0
    return 3


@pytest.mark.root
@pytest.mark.parametrize("way", ["run", "start"])
def test_a_child_is_never_root_again(way):
    """Children of root that acts as somebody else are that user in every way."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY.pw_gid)
    os.seteuid(NOBODY.pw_uid)
    try:
        if way == "run":
            assert child.run(is_nobody_for_good) == 0
        else:
            status = os.waitpid(child.start(is_nobody_for_good), 0)[1]
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
    assert ids()["Uid"] == ["0"] * 4


def test_how_a_child_ended():
    """The status is the function's, 1 for an exception, or the signal; no handler is inherited."""

    def fail() -> int:
        raise RuntimeError

    def end() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert [child.run(lambda: 7), child.run(fail), child.run(end)] == [7, 1, -signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_directory_for_a_while(tmp_path, monkeypatch):
    """It goes with all that is in it at the end, and an error is raised where none can be made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with temporary.directory("x-") as path:
        os.mkdir(f"{path}/a")
        with open(f"{path}/a/b", "w") as file:
            file.write("c")
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert not os.listdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(OSError, match="no directory can be made"), temporary.directory("x-"):
        pass


def test_a_directory_goes_with_its_process(tmp_path, monkeypatch):
    """Whoever is killed while it has a directory leaves none."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def die() -> int:
        with temporary.directory("x-"):
            os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert child.run(die) == -signal.SIGKILL
    deadline = time.monotonic() + 10
    while os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not os.listdir(tmp_path)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_child_of_a_service_without_privileged_calls():
    """Where a unit's filter ends whoever asks to be another user, a child does its work."""
    code = "from greylist import child; print(child.run(lambda: 7))"
    calls = "setreuid,setregid,setresuid,setresgid,setuid,setgroups"
    command = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}"]
    command += ["-e", f"inject={calls}:signal=SIGSYS"]
    done = subprocess.run(
        [*command, sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert done.stdout == "7\n", done.stderr
