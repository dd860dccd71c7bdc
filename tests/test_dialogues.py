"""The dialogues in tests/dialogues, held with the installed program: a filter, and a server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from server import Conversation

if TYPE_CHECKING:
    import subprocess

HUNG_UP = "hung up"
"""What a server, which lives on, has for a status."""

DIALOGUES = sorted((Path(__file__).parent / "dialogues").glob("*.txt"))


class Dialogue:
    """One conversation with one filter, or with one server.

    Attributes:
        start: starts it, given a place and a file for its log.
    """

    def __init__(self, place, start):
        self.place = place
        self.start = start
        self.settings: dict[str, str] = {}
        self.log = (place.directory / "log").open("w")
        self.logged = (place.directory / "log").open()
        self.process: subprocess.Popen | Conversation | None = None
        self.answered = False

    @property
    def filter(self):
        if self.process is None:
            self.place.configure(**self.settings)
            self.process = self.start(self.place, self.log)
        return self.process

    def step(self, line):
        word, _, rest = line.partition(" ")
        if word == "->":
            self.answered = False
            self.filter.stdin.write(rest.encode() + b"\n")
        elif word == "<-":
            self.answered = True
            assert self.filter.stdout.readline() == rest.encode() + b"\n"
        elif word == "...":
            self.place.age(int(rest.removesuffix("s later")))
        elif word == "setting":
            name, _, value = rest.partition(" = ")
            self.settings[name] = value
        elif word == "whitelist":
            with self.place.whitelist.open("a") as file:
                file.write(rest + "\n")
        elif word == "log":
            self.find(rest)
        elif word == "end":
            self.end()
        else:
            assert word == "status", f"no such step: {line}"
            self.end()
            assert self.process.returncode in {int(rest), HUNG_UP}

    def find(self, text):
        """Read the log up to a line with the text, which stands there before its answer comes."""
        if not self.answered:
            self.process.wait(10)
        if isinstance(self.process, Conversation):
            self.logged.seek(0)  # it opens its database before it is asked
        lines = []
        while line := self.logged.readline():
            lines.append(line)
            if text in line:
                return
        pytest.fail(f"not logged: {text!r}; instead: {lines}")

    def end(self):
        """Close the connection; nothing more may come from the filter."""
        if not self.filter.stdin.closed:
            self.filter.stdin.close()
            assert self.filter.stdout.read() == b""
            self.filter.wait(10)

    def close(self):
        if self.process:
            self.process.kill()
            with self.process:  # closes its pipes
                pass
        self.log.close()
        self.logged.close()


def filter_of(place, log):
    """Start a filter."""
    return place.start("--log", "stderr", stderr=log)


@pytest.mark.parametrize("start", [filter_of, Conversation], ids=["filter", "server"])
@pytest.mark.parametrize("path", DIALOGUES, ids=[path.stem for path in DIALOGUES])
def test_dialogue(path, place, start):
    """The dialogue goes as it is written down, with a filter and with a server alike."""
    dialogue = Dialogue(place, start)
    # Filters count whole seconds: none may begin between an entry's making and its ageing.
    time.sleep(-time.time() % 1)
    try:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                dialogue.step(line)
            except AssertionError as error:
                raise AssertionError(f"{path.name}:{number}: {line}") from error
        assert dialogue.filter.returncode is not None, "the last line is a status"
    finally:
        dialogue.close()
