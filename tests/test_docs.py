"""What the documents say is so."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import settings_docs
from postfix_harness import POLICY
from settings_docs import EXAMPLE, PAGES, ROOT

from greylist import policy, screening, settings
from greylist.cli import COMMANDS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}"


README, BY_COMMAND, INSTALLING = (
    ROOT / name for name in ("README.md", "docs/commands.md", "docs/installing.md")
)


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)


def options() -> list[str]:
    """Return the options of the program and of its commands, these behind the command's name."""
    commands = {"": cli, **{f"{name} ": cli.get_command(None, name) for name in COMMANDS}}
    return [
        f"{name}{option}"
        for name, command in commands.items()
        for parameter in command.params
        if parameter.param_type_name == "option"
        for option in (*parameter.opts, *parameter.secondary_opts)
    ]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_pages_show_the_settings(page):
    """The tables of settings are those of the program (make docs writes them)."""
    assert page.read_text() == settings_docs.page(page.read_text())


def test_all_settings_have_a_page():
    """docs/settings.md has all settings, and README the few that people change."""
    assert "<!-- settings -->\n" in (ROOT / "docs" / "settings.md").read_text()
    assert "<!-- settings: " in README.read_text()


def test_readme_is_short():
    """README has no more than a newcomer reads; the rest is in docs."""
    assert len(README.read_text().splitlines()) <= 200


@pytest.mark.parametrize("option", options())
def test_pages_name_every_option(option):
    """Every option of every command occurs in the pages, and every command by its name."""
    text = "\n".join(page.read_text() for page in PAGES)
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


def test_by_hand(tmp_path):
    """What is shown of the work by hand is what happens."""
    block = next(block for block in blocks(BY_COMMAND, "console") if block.startswith("$ mkdir "))
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


@pytest.mark.parametrize("page", [README, INSTALLING], ids=["README", "installing"])
def test_restriction(page):
    """The restriction that is shown is the one that is tested with Postfix."""
    assert f"    {POLICY}\n" in page.read_text()


def test_shell_is_shell():
    """The blocks of shell are complete commands."""
    for page in PAGES:
        for block in blocks(page, "sh"):
            subprocess.run(["sh", "-n", "-c", block], check=True)


LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the names that a page's headings get on a forge: lower case, hyphens for spaces."""
    headings = re.findall(r"(?m)^#+ (.+)$", FENCED.sub("", page.read_text()))
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links():
    """Yield the links within the repository, each with the page that has it."""
    for page in (*PAGES, ROOT / "CHANGELOG.md", *(ROOT / "benchmarks").glob("*.md")):
        for target in LINK.findall(FENCED.sub("", page.read_text())):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page.name}-{target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_links_resolve(page, target):
    """Every link leads to a file, and to a heading of it."""
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    assert path.exists()
    assert not anchor or anchor in anchors(path)


def test_every_page_is_linked():
    """Who starts at README finds every page."""
    named = {target.partition("#")[0] for target in LINK.findall(README.read_text())}
    assert {f"docs/{page.name}" for page in PAGES if page != README} <= named


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


RULES = re.split(r"(?m)^=[= ]+=\n", policy.__doc__)[2]
SHORT = {
    "=N": "=421",
    "(N missing": "(200s missing",
    "client/": "",
    "not in it": "not in greylist_recipients",
    ", no recipient": "",
}
"""What the table's narrow column says in short."""


def reasons() -> set[str]:
    """Return the reasons of the table of rules in policy.py, as they stand in the log."""
    found = set()
    for row in RULES.splitlines():
        cells = re.split(r"  +", row)[1]
        for short, whole in SHORT.items():
            cells = cells.replace(short, whole)
        found.add(cells)
    return found


PLACES = {"_passed": 0, "deferred": 0, "used": 3, "Decision": 2}
"""Where a call that makes a decision has its reason."""


def given(module) -> Iterator[str]:
    """Yield the reasons in a module's code, as regular expressions."""
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        reason = node.args[PLACES[name]] if name in PLACES else None
        if isinstance(reason, ast.Constant):
            yield re.escape(reason.value)
        elif isinstance(reason, ast.JoinedStr):
            parts = (getattr(part, "value", "") for part in reason.values)
            yield ".+".join(re.escape(part) for part in parts if isinstance(part, str))


def test_rules_are_in_the_table():
    """The table of rules in policy.py has each reason that the code gives."""
    found = [*given(policy), *given(screening)]
    assert len(found) > 12
    table = "\n".join([*reasons(), RULES])
    assert [reason for reason in found if not re.search(reason, table)] == []


@pytest.mark.parametrize("page", ["README.md", "docs/how-it-decides.md"])
def test_rules_are_in_the_pages(page):
    """The pages' tables have the reasons of the table of rules in policy.py."""
    text = (ROOT / page).read_text()
    assert len(reasons()) > 12
    shown = text.replace("`", "").replace("120s", "200s")
    assert {reason for reason in reasons() if reason not in shown} == set()
