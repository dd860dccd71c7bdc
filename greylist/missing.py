"""The message for a module that cannot be imported: another Python, a missing library."""

from __future__ import annotations

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


def remedy(error: ImportError) -> str:
    """Return what is missing, in one line, and the command that brings it back."""
    names = (error.name or "").split(".")
    package = next((_PACKAGES[name] for name in reversed(names) if name in _PACKAGES), "")
    if not package and "libdb" in str(error):
        package = "bsddb3"
    python = f"{sys.executable} (Python {sys.version_info[0]}.{sys.version_info[1]})"
    again = "--force-reinstall " if error.path else ""
    return (
        f"{python}: {error}; mend it: "
        f"{sys.executable} -m pip install {again}{package or '--force-reinstall greylist'}"
    )
