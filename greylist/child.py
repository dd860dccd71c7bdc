"""Child processes, for work that may hang, crash or outlive us; never with root's privileges.

A command of root's acts as the owner of the database's directory by its effective user alone, as
it has to be root again afterwards. A child never has to: before anything else it gives up the
real and the saved one too. Signals wait meanwhile: ``os.fork`` calls hooks of Python's own, and
an exception that a signal's handler raises in there, such as Control-C's, would be lost.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable
else:
    import _signal as signal

_HELD = (signal.SIGALRM, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that have handlers, here or in the caller; a child has none of them."""


def run(function: Callable[[], int], meanwhile: Callable[[], None] | None = None) -> int:
    """Run a function in a child; return its exit status, or the negative signal that ended it.

    A caller that is interrupted while the child works ends the child before anything else.

    Args:
        function: returns the exit status, which is 1 if it raises.
        meanwhile: what the parent does before it waits.

    Raises:
        OSError: no process can be started.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    child = 0
    try:
        child = _fork(function, mask)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if meanwhile:
            meanwhile()
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except BaseException:
        if child:
            _end(child)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def start(function: Callable[[], int]) -> int:
    """Run a function in a child that nobody waits for, in a session of its own; return its pid.

    At a time-out, spawn(8) kills the whole process group of a filter.

    Raises:
        OSError: no process can be started.
    """

    def detached() -> int:
        os.setsid()
        return function()

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
    try:
        return _fork(detached, mask)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _fork(function: Callable[[], int], mask: set[int | signal.Signals]) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            give_up_root()
            for number in _HELD:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            code = function()
        finally:
            os._exit(code)
    return child


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    except (ProcessLookupError, ChildProcessError):
        pass  # it had ended, and was waited for


def give_up_root() -> None:
    """Give up root for good: set the real and saved user and group to the effective ones.

    Who has nothing to give up does not ask: the sandbox of a unit allows nobody to.
    """
    group, user = os.getegid(), os.geteuid()
    if os.getresgid() != (group, group, group):
        os.setregid(group, group)
    if os.getresuid() != (user, user, user):
        os.setreuid(user, user)
