"""A file is believed when it has settled."""

from __future__ import annotations

import os
import threading
import time

import pytest
from settled import settle, write

from greylist import watched_file
from greylist.watched_file import File


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "file"
    write(found, "old")
    return found


@pytest.fixture
def clock(monkeypatch):
    """Time that stands still until a test moves it."""

    class Clock:
        now = time.time()

        def __call__(self):
            return self.now

    found = Clock()
    monkeypatch.setattr(watched_file.time, "time", found)
    monkeypatch.setattr(watched_file.time, "monotonic", found)
    return found


def test_a_change_counts_when_it_is_a_second_old(path, clock):
    """A file saved in place is not read before its last change is a second old."""
    file = File(str(path))
    assert file.changed()
    clock.now += 1
    path.write_text("")
    os.utime(path, (clock.now, clock.now))
    assert not file.changed()
    clock.now += 0.5
    path.write_text("new")
    os.utime(path, (clock.now, clock.now))
    assert not file.changed()
    clock.now += 0.9
    assert not file.changed()
    clock.now += 0.3
    assert file.changed()
    clock.now += 10
    assert not file.changed()


def test_a_file_is_not_looked_at_for_every_request(path, clock):
    """Within a quarter of a second no look is taken, however often is asked."""
    file = File(str(path))
    file.changed()
    clock.now += 1
    assert not file.changed()
    write(path, "other")
    clock.now += 0.2
    assert not file.changed()
    clock.now += 0.1
    assert file.changed()


def test_a_file_that_is_replaced_by_an_editor(path, clock):
    """A file that is gone for a moment, as while an editor saves it, is not taken for gone."""
    file = File(str(path))
    file.changed()
    clock.now += 1
    path.unlink()
    assert not file.changed()
    clock.now += 0.9
    assert not file.changed()
    write(path, "back")
    clock.now += 0.3
    assert file.changed()


def test_a_file_that_is_gone(path, clock):
    """What has been gone for a second is gone."""
    file = File(str(path))
    file.changed()
    path.unlink()
    clock.now += 1
    assert not file.changed()
    clock.now += 1.1
    assert file.changed()
    clock.now += 1
    assert not file.changed()


def test_a_file_from_another_clock(path, clock):
    """A time of change in the future is no sign that somebody writes."""
    file = File(str(path))
    file.changed()
    clock.now += 1
    path.write_text("from the future")
    os.utime(path, (clock.now + 9999, clock.now + 9999))
    assert file.changed()


def test_a_first_reader_waits(path):
    """Who starts while a file is being written reads it whole."""

    def save():
        with open(path, "w") as file:
            file.write("first half, ")
            file.flush()
            time.sleep(0.3)
            file.write("second half")

    path.write_text("")
    writer = threading.Thread(target=save)
    writer.start()
    file = File(str(path))
    assert file.changed()
    assert file.read() == b"first half, second half"
    writer.join()


def test_a_first_reader_waits_for_no_settled_file(path):
    """An old file is read at once."""
    settle(path)
    began = time.monotonic()
    assert File(str(path)).changed()
    assert time.monotonic() - began < 0.5
