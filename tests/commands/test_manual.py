"""The manual pages say what the program says."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from greylist.cli import COMMANDS, cli
from greylist.commands import manual
from greylist.settings import SETTINGS

from . import peers

DIRECTORY = os.path.join(os.path.dirname(__file__), "..", "..", "man")


@pytest.mark.parametrize("name", manual.PAGES)
def test_the_pages_are_those_of_the_sources(name):
    """The pages in the tree are made anew with python -m greylist.commands.manual man."""
    with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
        assert file.read() == manual.page(name)


@pytest.mark.parametrize("name", manual.PAGES)
def test_the_pages_are_well_formed(name):
    """Groff formats them without a warning, and no line starts with a stray dot."""
    program = peers.program("groff")
    done = subprocess.run(
        [program, "-man", "-ww", "-Tutf8", os.path.join(DIRECTORY, name)],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    assert b"SEE ALSO" in re.sub(rb".\x08|\x1b\[\d*m", b"", done.stdout)


def test_every_option_is_in_the_manual():
    """No command, option or setting is left out."""
    first, fifth = (manual.page(name).replace("\\-", "-") for name in manual.PAGES)
    for name in COMMANDS:
        assert f'.SS "greylist {name}"' in first
        for param in cli.get_command(None, name).params:
            assert all(option in first for option in param.opts if option.startswith("-"))
    for setting in SETTINGS:
        assert f"\n.BR {setting.name} " in fifth
