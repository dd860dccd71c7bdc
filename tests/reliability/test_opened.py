"""What root opens as root: nothing that is in the hands of the database's owner."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.reliability.opened import COMMANDS, used


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
