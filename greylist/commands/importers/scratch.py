"""Scratch copies: what is imported may be open elsewhere, and must not change by being read."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from greylist import temporary
from greylist.commands.importers.rows import ForeignError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def copies(paths: list[str]) -> Iterator[str]:
    """Copy files into a directory of their own, in this order; it goes with the context.

    Raises:
        ForeignError: a file cannot be read, or its copy not be written.
    """
    with temporary.directory("greylist-import-") as directory:
        try:
            for path in paths:
                shutil.copyfile(path, os.path.join(directory, os.path.basename(path)))
        except OSError as error:
            raise ForeignError(f"{error.filename or directory}: {error.strerror}") from error
        yield directory
