"""Extension modules without their packages."""

from __future__ import annotations

import subprocess
import sys

import pytest

from greylist.native import extension

ALONE = """
import sys
from greylist.native import extension
alone = extension({package!r}, {name!r})
assert {package!r} not in sys.modules
import {package}
assert {package}.{name} is alone is extension({package!r}, {name!r})
"""


@pytest.mark.parametrize(("package", "name"), [("bsddb3", "_pybsddb"), ("re2", "_re2")])
def test_alone(package, name):
    """The module comes without its package, and is the one that the package has later on."""
    program = ALONE.format(package=package, name=name)
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


@pytest.fixture
def packages(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith(("packaged", "_elsewhere"))]:
        del sys.modules[name]


def test_elsewhere(packages):
    """A module that is not where it used to be is got through its package."""
    (packages / "_elsewhere.py").write_text("found = True\n")
    (packages / "packaged.py").write_text("import _elsewhere as _inner\n")
    assert extension("packaged", "_inner").found
    assert "packaged" in sys.modules


def test_broken(packages):
    """What keeps a module from being loaded is said, and nothing half made stays behind."""
    (packages / "packaged").mkdir()
    (packages / "packaged" / "__init__.py").write_text("from . import _inner\n")
    (packages / "packaged" / "_inner.py").write_text("raise ImportError('libdb is not there')\n")
    for _ in range(2):
        with pytest.raises(ImportError, match="libdb is not there"):
            extension("packaged", "_inner")
        assert not any(name.startswith("packaged") for name in sys.modules)


def test_missing():
    """There is no module without a package."""
    with pytest.raises(ModuleNotFoundError, match="nothing_of_the_kind"):
        extension("nothing_of_the_kind", "_inner")
