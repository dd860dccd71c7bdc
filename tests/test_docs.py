"""What the documents say is so."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig

import pytest
import settings_docs
from postfix_harness import POLICY
from settings_docs import EXAMPLE, README, ROOT, TABLE

from greylist import settings
from greylist.cli import cli

PATH = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)


def options(command, name: str = "") -> list[str]:
    """Return the options of a command and of its commands."""
    found = [
        f"{name}{option}"
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in (*parameter.opts, *parameter.secondary_opts)
    ]
    for child in getattr(command, "commands", {}).values():
        found += options(child, f"{child.name} ")
    return found


def test_readme_shows_the_settings():
    """README's table is that of the program (make docs writes it)."""
    assert TABLE.findall(README.read_text()) == [settings_docs.table()]


@pytest.mark.parametrize("option", options(cli))
def test_readme_names_every_option(option):
    """Every option of every command occurs in README, and every command by its name."""
    text = README.read_text()
    command, _, name = option.rpartition(" ")
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)
    assert f"greylist {command}".rstrip() in text


def test_example_of_the_settings():
    """greylist.cf.example shows every setting with its default (make docs writes it)."""
    assert EXAMPLE.read_text() == settings_docs.example()


@pytest.mark.parametrize("pattern", ["", r"(?m)^#(?=\w+ = )"], ids=["as it is", "taken up"])
def test_example_of_the_settings_loads(tmp_path, pattern):
    """greylist.cf.example loads, with and without its # marks, and changes nothing."""
    path = tmp_path / "greylist.cf"
    path.write_text(re.sub(pattern, "", EXAMPLE.read_text()))
    loaded, defaults = settings.load(str(path)), settings.Settings()
    for setting in settings.SETTINGS:
        assert getattr(loaded, setting.name) == getattr(defaults, setting.name)


def test_readme_by_hand(tmp_path):
    """What README shows of the work by hand is what happens."""
    block = blocks("console")[0]  # the others: commands/test_readme_commands.py
    parts = re.split(r"(?m)^\$ (.*)\n", block)[1:]
    commands, outputs = parts[::2], parts[1::2]
    show = "} >out 2>err; cat err out; echo -n @@@\n"
    script = "".join(f"{{ {command}\n{show}" for command in commands)
    result = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={"PATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    shown = dict(zip(commands, outputs, strict=True))
    assert dict(zip(commands, result.stdout.split("@@@")[:-1], strict=True)) == shown


def test_readme_restriction():
    """The restriction that README shows is the one that is tested with Postfix."""
    assert f"    {POLICY}\n" in README.read_text()


def test_readme_shell_is_shell():
    """The blocks of shell in README are complete commands."""
    for block in blocks("sh"):
        subprocess.run(["sh", "-n", "-c", block], check=True)


def test_demo():
    """The demo shows a mail deferred, retried early, passed, and one whitelisted."""
    result = subprocess.run(
        [ROOT / "tests" / "demo", "2"],
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    deferred, passed = "defer_if_permit Service is temporarily unavailable", "dunno"
    actions = re.findall(r"(?m)^  <- action=(.*)$", result.stdout)
    assert actions == [deferred, deferred, passed, passed]
    listed = result.stdout.partition("The database")[2]
    assert re.search(r"192\.0\.2\.0.*someone@example\.com.*you@example\.org", listed)
    assert "newsletter" not in listed
    assert result.stderr == ""
