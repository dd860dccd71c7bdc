"""Extension modules without the Python code of their packages, which a filter does not use.

bsddb3 and re2 are packages round one extension module each. What they themselves import
(``collections``, ``functools``, ``weakref`` and more) took a seventh of the filter's start-up.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def extension(package: str, name: str) -> Any:
    """Return an extension module, its package being imported only if there is no other way.

    A later import of the package gets the same module.

    Raises:
        ImportError: there is no such module, or it cannot be loaded.
    """
    full = f"{package}.{name}"
    if full not in sys.modules and package not in sys.modules:
        # An empty package in the same places, for as long as the import takes.
        stand_in = type(sys)(package)
        stand_in.__path__ = [os.path.join(directory, package) for directory in sys.path]
        sys.modules[package] = stand_in
        flags = sys.getdlopenflags()
        # Of the thousands of functions in libstdc++ and libdb each is looked up when it is called
        # first, not all of them now: 4 % of the start-up.
        sys.setdlopenflags(os.RTLD_LAZY)
        try:
            __import__(full)
        except ImportError:
            pass  # it is elsewhere, or else this comes again
        finally:
            sys.setdlopenflags(flags)
            del sys.modules[package]
    return sys.modules.get(full) or getattr(__import__(package), name)
