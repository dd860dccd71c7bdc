"""Usage: contents.py DIST MANIFEST: each archive of DIST holds what MANIFEST says, and no rubbish.

A line of the manifest: ``sdist``, ``wheel`` or ``deb``, and a pattern as of fnmatch; with ``!``
before it, for what must not be there.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path


def contents(dist: Path) -> dict[str, list[str]]:
    """Return the names in each archive; the sdist's without its first folder."""
    (sdist,), (wheel,), (deb,) = (list(dist.glob(f"*{end}")) for end in (".tar.gz", ".whl", ".deb"))
    with tarfile.open(sdist) as archive:
        source = [name.partition("/")[2] for name in archive.getnames()]
    with zipfile.ZipFile(wheel) as archive:
        wheels = archive.namelist()
    command = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    listed = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    names = subprocess.run(["tar", "-t"], input=listed, stdout=subprocess.PIPE, check=True).stdout
    packaged = [line.removeprefix("./") for line in names.decode().splitlines()]
    return {"sdist": source, "wheel": wheels, "deb": packaged}


def complaints(found: dict[str, list[str]], manifest: str) -> list[str]:
    """Return what is missing and what is too much."""
    wrong = []
    for line in manifest.splitlines():
        if line and not line.startswith("#"):
            kind, pattern = line.split()
            unwanted = pattern.startswith("!")
            matching = [name for name in found[kind] if fnmatch(name, pattern.lstrip("!"))]
            if unwanted:
                wrong += [f"{kind}: {name} does not belong there" for name in matching]
            elif not matching:
                wrong.append(f"{kind}: {pattern} is missing")
    return wrong


if __name__ == "__main__":
    found = complaints(contents(Path(sys.argv[1])), Path(sys.argv[2]).read_text("utf-8"))
    sys.exit("\n".join(found) or 0)
