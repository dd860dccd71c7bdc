"""Files whose last change is old enough for a reader to believe them."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: str | os.PathLike[str], text: str | bytes) -> None:
    """Write a file as if it had been written a while ago."""
    path = Path(path)
    path.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
    settle(path)


def settle(path: str | os.PathLike[str]) -> None:
    """Make the last change of a file a while ago."""
    then = os.stat(path).st_mtime - 10
    os.utime(path, (then, then))
