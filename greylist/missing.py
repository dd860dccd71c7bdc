"""The message for a module that cannot be imported: another Python, no library, half a file."""

from __future__ import annotations

import os
import sys

_PACKAGES = {
    "bsddb3": "bsddb3",
    "_pybsddb": "bsddb3",
    "berkeleydb": "berkeleydb",
    "re2": "google-re2",
    "_re2": "google-re2",
    "click": "click",
    "filelock": "filelock",
    "hiredis": "hiredis",
    "valkey": "valkey",
    "dns": "dnspython",
    "prometheus_client": "prometheus-client",
    "uvloop": "uvloop",
}
"""The package to install for a module."""

_DEBIAN = "/usr/lib/greylist"
"""Where the Debian package has its modules; it does not look where pip would install any."""

_DEBIAN_HAS = {"bsddb3", "click", "dnspython", "hiredis", "prometheus-client", "uvloop"}
"""Packages that are Debian's, as ``python3-NAME``; all others lie beside the modules."""


def remedy(error: Exception) -> str:
    """Return what is wrong with an import, in one line, and the command that mends it.

    Args:
        error: what an import raised: ``ImportError``, or any other if the module is not whole.
    """
    python = f"{sys.executable} (Python {sys.version_info[0]}.{sys.version_info[1]})"
    if isinstance(error, ImportError):
        return f"{python}: {error}; mend it: {_installation(error)}"
    text = f"{python}: {type(error).__name__}: {error}"
    if isinstance(error, PermissionError):
        return f"{text}; mend it: chmod -R a+rX {os.path.dirname(__file__)}"
    if isinstance(error, (OSError, MemoryError)):
        return text  # nothing is wrong with what is installed
    return f"{text}; mend it: {_command('greylist', again=True)}"


def _installation(error: ImportError) -> str:
    """Return the command that installs what cannot be imported."""
    names = (error.name or "").split(".")
    package = next((_PACKAGES[name] for name in reversed(names) if name in _PACKAGES), "")
    if not package and "libdb" in str(error):
        package = "bsddb3"
    return _command(package or "greylist", again=bool(error.path) or not package)


def _command(package: str, *, again: bool) -> str:
    """Return the command that installs a package; ``again``: although it seems to be there."""
    if os.path.dirname(os.path.dirname(__file__)) == _DEBIAN:
        name = f"python3-{package}" if package in _DEBIAN_HAS else "greylist"
        return f"apt-get install --reinstall {name}"
    return f"{sys.executable} -m pip install {'--force-reinstall ' if again else ''}{package}"
