"""Imports run one way: no circle in the tree, late imports and those for types included."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGES = ("greylist", "benchmarks", "tests")


def modules():
    """Return the path of each module by its name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path, known):
    """Yield the modules that a module imports anywhere, also late or for its types alone.

    The tests' helpers are imported by their name alone, or from the package of their folder.
    """
    for node in ast.walk(ast.parse(path.read_bytes())):
        names = []
        if isinstance(node, ast.Import):
            names = [(alias.name,) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                folder = path.parents[node.level - 1].relative_to(ROOT)
                origin = ".".join([*folder.parts, *origin.split(".")]).rstrip(".")
            names = [(f"{origin}.{alias.name}", origin) for alias in node.names]
        for ways in names:
            found = [full for way in ways for full in (way, f"tests.{way}") if full in known]
            yield from found[:1]


def graph():
    """Return what each module imports; a package's own face is no circle with what it shows."""
    known = modules()
    return {name: set(imported(path, known)) - {name} for name, path in known.items()}


def test_no_circle():
    """Every module can be understood after those that it imports, and before no other."""
    try:
        order = list(TopologicalSorter(graph()).static_order())
    except CycleError as error:
        raise AssertionError(" -> ".join(reversed(error.args[1]))) from None
    assert len(order) > 100


def test_helpers_are_seen():
    """The graph has the tests' helpers, by either way to name them, and late imports."""
    others = graph()
    assert "tests.readable" in others["tests.postfix_harness"]
    assert "tests.commands.mailhost" in others["tests.commands.test_readme_commands"]
    assert "greylist.store.valkey.url" in others["greylist.settings"]


def test_the_policy_knows_no_store():
    """What decides, and the commands, know no Berkeley DB and no server."""
    free = ("greylist.policy", "greylist.expiry", "greylist.filter", "greylist.answer")
    for name, others in graph().items():
        if name in free:
            kinds = {other for other in others if other.startswith("greylist.store.")}
            assert kinds <= {"greylist.store.opening"}, name
        # An import reads other programs' databases, which are Berkeley DB's.
        if name.startswith("greylist.commands.") and "importers" not in name:
            kinds = {other for other in others if other.startswith("greylist.store.")}
            names = {
                f"greylist.store.{one}" for one in ("batches", "memory", "opening", "valkey.url")
            }
            assert kinds <= names, name  # of which the last one reads settings
