"""One connection: requests in, actions out. In trouble: log, and hang up without a reply.

Postfix asks for that (SMTPD_POLICY_README, "Simple policy client/server configuration"): a
server that hangs up is asked again a second later, and then the ``default_action`` of
main.cf decides, not a failure that looks like an answer.
"""

from __future__ import annotations

import gc
import os

from greylist import settings
from greylist.answer import Responder
from greylist.log import Log, place_of
from greylist.protocol import RequestError, read_requests
from greylist.settings import SettingsError
from greylist.store import StoreError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from types import FrameType
    from typing import NoReturn

    from greylist.settings import Settings
else:
    import _signal as signal

_READ = 65536
_HINT = (
    "greylist: type a request as name=value lines, then an empty line (see --help); Control-D ends"
)


class Connection:
    """Standard input and output, and the end that a signal asks for."""

    def __init__(self) -> None:
        self._waiting = False
        self._ended = False

    def read(self) -> bytes:
        """Return the next bytes, or none at the end of the connection."""
        if self._ended:
            return b""
        self._waiting = True
        try:
            return b"" if self._ended else os.read(0, _READ)
        except (ConnectionResetError, InterruptedError):
            return b""
        finally:
            self._waiting = False

    def end(self, signum: int, frame: FrameType | None) -> None:
        """End between two requests; as a signal's handler."""
        self._ended = True
        if self._waiting:
            raise InterruptedError

    @staticmethod
    def write(data: bytes) -> None:
        """Write all of it, in one piece if the kernel takes it so."""
        while data:
            data = data[os.write(1, data) :]


def serve(responder: Responder, connection: Connection) -> int:
    """Serve a connection to its end, and return the exit status."""
    status = 0
    try:
        for request in read_requests(connection.read, responder.garbage):
            connection.write(responder.answer(request))
    except RequestError as error:
        responder.log.fatal(str(error))
        status = 1
    except (BrokenPipeError, ConnectionResetError):
        pass  # the client has what it wanted, or has gone
    if responder.store:
        responder.store.close()
    return status


def main(configuration: Settings | None = None) -> NoReturn:
    """Serve standard input with these settings, or those of the file, and end the process.

    Raises:
        ImportError, SyntaxError: a module is missing or broken; the entry says so.
    """
    status = 1
    log = Log()
    if os.isatty(2):
        log.to_stderr()
    try:
        configuration = configuration or settings.load()
        configuration.check()
        log.configure(configuration)
        connection = Connection()
        signal.signal(signal.SIGTERM, connection.end)
        if os.isatty(0) and os.isatty(2):
            os.write(2, _HINT.encode() + b"\n")
        responder = Responder(configuration, log)
        # Importing leaves next to nothing behind that could be collected.
        gc.freeze()
        gc.enable()
        status = serve(responder, connection)
    except (SettingsError, StoreError, OSError) as error:
        log.fatal(str(error))
    except KeyboardInterrupt:
        status = 130
    except (ImportError, SyntaxError):
        raise
    except Exception as error:  # noqa: BLE001 - under spawn nobody would ever see it
        log.fatal(place_of(error))
    # No destructor runs: closing a database that is not ours any more would damage it.
    os._exit(status)
