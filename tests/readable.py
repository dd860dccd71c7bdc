"""An installation that any user can read, made of the one that runs the tests.

Postfix runs the filter as ``nobody``, who cannot see a checkout in somebody's home.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

MODULES = ("greylist", "bsddb3", "re2", "click", "filelock", "hiredis")
"""The package, and what it needs to run."""

NOBODY = pwd.getpwnam("nobody")


def as_root(
    *command: str | Path, user: str = "root", check: bool = True, **options
) -> subprocess.CompletedProcess:
    """Run a command as root, or as another user, and have its output."""
    arguments = list(map(str, command))
    options = {"capture_output": True, "text": True, "cwd": "/", "umask": 0o022, **options}
    if os.geteuid() != 0:
        arguments = ["sudo", "-n", "-u", user, "--", *arguments]
    elif user != "root":
        options.update(user=user, group=pwd.getpwnam(user).pw_gid, extra_groups=[])
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    return subprocess.run(arguments, check=check, **options)


def can_be_root() -> bool:
    """Return whether this process is root, or sudo asks for no password."""
    if os.geteuid() == 0:
        return True
    return bool(shutil.which("sudo")) and as_root("true", check=False).returncode == 0


def install(directory: Path) -> Path:
    """Make the installation in a directory that others can enter; return its bin directory."""
    home = directory / "greylist"
    python = Path(sys._base_executable)
    if not _open_to_nobody(python):
        python = _copy_python(directory / "python")
    subprocess.run([python, "-m", "venv", "--without-pip", home], check=True)
    site = next(home.glob("lib/python*/site-packages"))
    for name in MODULES:
        _copy_module(name, site)
    _copy_examples(site / "greylist" / "examples")
    script = home / "bin" / "greylist"
    installed = Path(sysconfig.get_path("scripts")) / "greylist"
    body = installed.read_text().split("\n", 1)[1]
    script.write_text(f"#!{home}/bin/python\n{body}")
    script.chmod(0o755)
    subprocess.run([home / "bin" / "python", "-m", "compileall", "-q", site], check=True)
    subprocess.run(["chmod", "-R", "a+rX", directory], check=True)  # whatever the umask
    return home / "bin"


def _open_to_nobody(python: Path) -> bool:
    try:
        return as_root(python, "-c", "pass", user="nobody", check=False).returncode == 0
    except PermissionError:
        return False


def _copy_python(target: Path) -> Path:
    """Copy the interpreter and its standard library; return the copy."""
    library = Path(sysconfig.get_path("stdlib"))
    unused = shutil.ignore_patterns("test", "site-packages", "idlelib", "tkinter", "ensurepip")
    shutil.copytree(library, target / "lib" / library.name, ignore=unused)
    for shared in library.parent.glob("libpython*.so*"):
        shutil.copy2(shared, target / "lib")
    (target / "bin").mkdir()
    return Path(shutil.copy2(Path(sys._base_executable).resolve(), target / "bin"))


def _copy_examples(examples: Path) -> None:
    """Lay the examples where a wheel has them (pyproject.toml)."""
    root = Path(__file__).parent.parent
    examples.mkdir(exist_ok=True)
    units = (root / "packaging" / "systemd").glob("greylist.s*")
    for path in (*root.glob("*.example"), *units):
        shutil.copy(path, examples / f"{path.name.removesuffix('.example')}.example")


def _copy_module(name: str, site: Path) -> None:
    specification = importlib.util.find_spec(name)
    assert specification, f"{name} is not installed"
    package = Path(specification.origin).parent
    shutil.copytree(package, site / name, ignore=shutil.ignore_patterns("__pycache__", "tests"))
