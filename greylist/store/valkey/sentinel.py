"""Which server of a group is the master: its Sentinels know."""

from __future__ import annotations

import time

from greylist.store.valkey.connection import Connection
from greylist.store.valkey.errors import Refused, Unavailable
from greylist.store.valkey.secrets import Secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.store.valkey.connection import Command
    from greylist.store.valkey.url import Address

SHARE = 0.1
"""Seconds that a Sentinel has for its answer: then the next one is asked."""


def master(address: Address, secrets: Secrets, deadline: float) -> tuple[str, int]:
    """Return the host and port of the master of a group.

    Args:
        address: of the Sentinels.
        secrets: for TLS; and for Sentinels that ask for a password, which is the servers' own.
        deadline: when to give up, in seconds of ``time.monotonic``.

    Raises:
        Unavailable: no Sentinel knows it.
    """
    reasons = []
    for host, port in address.hosts:
        until = min(deadline, time.monotonic() + SHARE)
        try:
            found = _ask(address.at(host, port), address.name, secrets, until)
        except Unavailable as error:
            reasons.append(f"{host}:{port}: {error}")
            continue
        if found:
            return found[0].decode("ascii", "replace"), int(found[1])
        reasons.append(f"{host}:{port}: knows no {address.name!r}")
    raise Unavailable("; ".join(reasons))


def _ask(address: Address, name: str, secrets: Secrets, deadline: float) -> list[bytes] | None:
    """Return what one Sentinel says; with the password if it does not say it without."""
    address.db = 0
    nobody = address.at(*address.hosts[0])
    nobody.user = nobody.password = ""
    question = (b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", name.encode())
    try:
        return _answer(nobody, Secrets("", secrets.ca, secrets.certificate), question, deadline)
    except Refused as error:
        if error.code != "NOAUTH":
            raise
    return _answer(address, secrets, question, deadline)


def _answer(
    address: Address, secrets: Secrets, question: Command, deadline: float
) -> list[bytes] | None:
    connection = Connection(address, secrets)
    try:
        found: list[bytes] | None = connection.one(deadline, *question)
        return found
    finally:
        connection.close()
