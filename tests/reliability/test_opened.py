"""What root opens as root: nothing that is in the hands of the database's owner."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.reliability.opened import COMMANDS, opened, used


@pytest.mark.root
def test_root_is_not_root_in_the_databases_directory():
    """Each command opens what is in another user's directory as that user, and its copies too."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # others cannot enter pytest's own
        seen = {name: (root, owner) for name, root, owner in used(Path(directory))}
    assert seen.keys() == COMMANDS.keys()
    for name, (root, owner) in seen.items():
        assert not [file for file in root if file.startswith("greylist.db")], name
        joins = name not in {"replay", "whitelist", "check", "dump"}
        assert joins == ("greylist.db.env/__db.N" in owner), name
    for name in ("check", "dump"):
        assert {"a copy in TMPDIR", "greylist.db"} <= set(seen[name][1])
    assert "greylist.db.env/old.__db.N" in seen["list, after a filter's death"][1]


def test_calls_in_two_pieces():
    """A trace has a call in two lines where another process's comes between them."""
    trace = [
        '7 openat(AT_FDCWD, "first", O_RDONLY) = 3',
        "7 setresuid( <unfinished ...>",
        '8 openat(AT_FDCWD, "other", O_RDONLY <unfinished ...>',
        "7 <... setresuid resumed>-1, 65534, -1) = 0",
        "8 <... openat resumed>) = 3",
        "7 clone(child_stack=NULL, flags=SIGCHLD <unfinished ...>",
        '9 unlink("second") = 0',
        "7 <... clone resumed>) = 9",
        '9 unlink("third" <unfinished ...>',
    ]
    assert opened(trace) == {"root": {"first", "other"}, "owner": {"second"}}
