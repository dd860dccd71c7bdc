"""TLS for a connection; by Python's ssl, whose loading takes longer than a whole filter's start."""

from __future__ import annotations

import ssl
from socket import socket
from typing import TYPE_CHECKING

from greylist.watched_file import File

if TYPE_CHECKING:
    from typing import Any

    from greylist.store.valkey.secrets import Secrets


def secured(plain: Any, host: str, secrets: Secrets, seconds: float) -> ssl.SSLSocket:
    """Return a connection over TLS in the place of a plain one.

    The server's certificate has to be good for the host that was asked for. Without a file of
    authorities, those of the system are trusted.

    Raises:
        OSError: there is no such connection, or a file cannot be read.
    """
    for path in filter(None, (secrets.ca, secrets.certificate)):
        File(path).read()  # no regular file would hang OpenSSL
    context = ssl.create_default_context(cafile=secrets.ca or None)
    if secrets.certificate:
        context.load_cert_chain(secrets.certificate)
    whole = socket(fileno=plain.detach())
    try:
        whole.settimeout(seconds)
        return context.wrap_socket(whole, server_hostname=host)
    except BaseException:
        whole.close()
        raise
