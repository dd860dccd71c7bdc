"""The addresses of a host; a resolver that hangs is not waited for."""

from __future__ import annotations

import _socket
import time

from greylist.store.valkey.errors import Unavailable, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


def resolve(host: str, port: int, deadline: float) -> list[tuple[int, Any]]:
    """Return the families and addresses of a host.

    Raises:
        Unavailable: it has none, or they were not found in time.
    """
    name = host.encode()  # a text would load the codec of international names
    try:
        return _look_up(name, port, _socket.AI_NUMERICHOST)
    except OSError:
        pass
    import _thread

    found: list[list[tuple[int, Any]] | OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def look() -> None:
        try:
            found.append(_look_up(name, port, 0))
        except OSError as error:
            found.append(error)
        done.release()

    _thread.start_new_thread(look, ())
    if not done.acquire(timeout=max(deadline - time.monotonic(), 0)):
        raise Unavailable(f"{host}: no answer from the resolver")
    if isinstance(found[0], OSError):
        raise Unavailable(f"{host}: {reason(found[0])}")
    return found[0]


def _look_up(name: bytes, port: int, flags: int) -> list[tuple[int, Any]]:
    found: Iterable[Any] = _socket.getaddrinfo(name, port, 0, _socket.SOCK_STREAM, 0, flags)
    return [(family, place) for family, _, _, _, place in found]
