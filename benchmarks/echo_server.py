"""What a server on asyncio costs that does nothing: read, answer its argument.

echo_server.py ACTION SOCKET
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys


class Echo(asyncio.Protocol):
    """One connection."""

    reply = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer when a request is whole."""
        if data[-2:] == b"\n\n":
            self._transport.write(self.reply)


async def main(action: str, path: str) -> None:
    """Serve until a SIGTERM."""
    Echo.reply = f"action={action}\n\n".encode()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    await loop.create_unix_server(Echo, path, backlog=1024)
    os.chmod(path, 0o666)
    await ended.wait()


if __name__ == "__main__":
    if os.path.exists(sys.argv[2]):
        os.unlink(sys.argv[2])
    asyncio.run(main(sys.argv[1], sys.argv[2]))
