"""``greylist serve``: one process, or a few, for all connections."""

import sys

if "ssl" not in sys.modules:
    # asyncio does without where there is none. Nobody speaks TLS here, and OpenSSL takes 4 MiB; a
    # store that needs it finds it afterwards.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        import asyncio  # noqa: F401 - now, without it
    finally:
        del sys.modules["ssl"]
