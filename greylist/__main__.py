#!python
"""The entry: no arguments, and the filter runs at once; anything else is the command line's."""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Serve standard input, or hand the arguments to the command line."""
    if len(sys.argv) == 1 and "_GREYLIST_COMPLETE" not in os.environ:
        gc.disable()  # until all is imported; a twentieth of the start-up

        from greylist import filter

        filter.main()
    else:
        from greylist.cli import run

        run()


if __name__ == "__main__":
    main()
