#!python
"""The entry: no arguments, and the filter runs at once; anything else is the command line's.

Only modules of the interpreter itself are imported at the top. Any other may be missing, after an
upgrade of Python or of a library: that is said in one line, which never reaches Postfix.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Serve standard input, or hand the arguments to the command line."""
    spawned = _part_streams()
    try:
        if len(sys.argv) == 1 and "_GREYLIST_COMPLETE" not in os.environ:
            gc.disable()  # until all is imported; a twentieth of the start-up

            from greylist import filter

            filter.main()
        else:
            from greylist.cli import run

            run(spawned)
    except KeyboardInterrupt:
        os._exit(130)
    except Exception as error:  # noqa: BLE001 - all else ends in there: a module that is not whole
        _end(error)


def _part_streams() -> bool:
    """Separate standard error from the replies; return whether it was the policy socket.

    spawn(8) makes the policy socket all three of the standard streams, and a line there would be a
    broken reply. What a person, cron, a supervisor or the journal takes by one pipe, file or socket
    stays together, but for a filter's; its input is another. Of 0 to 2, a closed one is opened:
    otherwise the next file opened would take its place, perhaps the database.
    """
    null = os.open("/dev/null", os.O_RDWR)
    while null <= 2:
        null = os.dup(null)
    spawned = False
    if not os.isatty(2) and os.path.sameopenfile(1, 2):
        is_socket = os.fstat(2).st_mode & 0o170000 == 0o140000
        spawned = is_socket and os.path.sameopenfile(0, 1)
        if spawned or len(sys.argv) == 1:
            os.dup2(null, 2)
    os.close(null)
    return spawned


def _end(error: Exception) -> None:
    """Say which module is missing or broken, in syslog and on standard error, and end."""
    try:
        from greylist.missing import remedy

        text = remedy(error)
    except Exception:  # noqa: BLE001 - it may be broken as well
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        text = (
            f"{sys.executable} (Python {version}) has no working package greylist ({error}); "
            f"mend it: {sys.executable} -m pip install --force-reinstall greylist"
        )
    try:
        import syslog

        syslog.openlog("greylist", syslog.LOG_PID, syslog.LOG_MAIL)
        syslog.syslog(syslog.LOG_ERR, f"fatal: {text}")
    except ImportError:
        pass
    os.write(2, f"greylist: fatal: {text}\n".encode(errors="backslashreplace"))
    os._exit(1)


if __name__ == "__main__":
    main()
