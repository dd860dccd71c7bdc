"""Directories for a while."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from readable import NOBODY

from greylist import temporary


@pytest.mark.root
@pytest.mark.parametrize("how", ["theirs", "below theirs", "a link to theirs", "for all"])
def test_no_directory_in_reach_of_others(tmp_path, monkeypatch, how):
    """Root makes none where another user can put one of his in its place."""
    place = tmp_path / "place"
    place.mkdir()
    if how == "for all":
        place.chmod(0o777)
    else:
        os.chown(place, NOBODY.pw_uid, NOBODY.pw_gid)
    named = place
    if how == "below theirs":
        named = place / "below"
        named.mkdir()
    elif how == "a link to theirs":
        named = tmp_path / "link"
        named.symlink_to(place)
    monkeypatch.setattr(tempfile, "tempdir", str(named))
    with (
        pytest.raises(OSError, match="in reach of other users"),
        temporary.directory("greylist-"),
    ):
        pass
    assert not any(place.rglob("greylist-*"))


@pytest.mark.parametrize("mode", [0o700, 0o1777])
def test_directory(tmp_path, monkeypatch, mode):
    """It is nobody else's, and goes with all that is in it."""
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with temporary.directory("greylist-") as directory:
        assert os.path.dirname(directory) == str(place)
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        with open(os.path.join(directory, "file"), "wb"):
            pass
    assert not list(place.iterdir())
