"""The recipient as Postfix would deliver to it, however the client spells it.

Postfix asks with the address as it came, and rewrites it afterwards (ADDRESS_REWRITING_README;
postconf(5)). To each of these it delivers at ``b@example.org``, its own domain:

- ``b@example.org.``: a dot ends a domain name (RFC 1034, section 3.1);
- ``b%example.org@example.org``: ``allow_percent_hack``, on by default, if the last domain is local;
- ``example.org!b@example.org``: ``swap_bangpath``, on by default, likewise;
- ``"b@example.org"@example.org``, which comes without its quotes: ``resolve_dequoted_address``;
- ``@one.example,@two.example:b@example.org``: a source route (RFC 5321, appendix C);
- ``b@[192.0.2.25]`` and ``b``, if the address is the server's: then the domain cannot be told;
- ``b+extension@example.org``, with ``recipient_delimiter``.

Whether a domain is local is not known here, so such an address has several forms. A list that lets
pass has to match them all, one that greylists only one: in doubt a recipient is greylisted.
"""

from __future__ import annotations

_ROUTING = b"%!:["


def delivered(recipient: bytes) -> bytes:
    """Return the address, in lower case, as Postfix delivers it if each of its hosts is local."""
    return forms(recipient)[-1]


_REMEMBERED = 1000
"""Recipients that one process remembers: each is asked about several times a request."""

_found: dict[bytes, tuple[bytes, ...]] = {}


def forms(recipient: bytes) -> tuple[bytes, ...]:
    """Return the addresses that a recipient may stand for, in lower case.

    The first one has only what says nothing left out; each further one takes one more host for
    local.
    """
    found = _found.get(recipient)
    if found is None:
        if len(_found) >= _REMEMBERED:
            _found.clear()
        found = _found[recipient] = _forms(recipient)
    return found


def _forms(recipient: bytes) -> tuple[bytes, ...]:
    address = recipient.lower()
    if len(address.translate(None, _ROUTING)) == len(address) and address.count(b"@") == 1:
        return (address.rstrip(b"."),)
    address = _unrouted(address)
    found = [address]
    while inner := _inner(address):
        address = inner
        found.append(address)
    return tuple(found)


def _unrouted(address: bytes) -> bytes:
    """Return an address without its source routes and the dots at its end.

    Postfix takes off one each time that it rewrites the address.
    """
    while address.startswith(b"@") and (rest := address.partition(b":")[2]):
        address = rest
    return address.rstrip(b".")


def _inner(address: bytes) -> bytes:
    """Return the address within the local part, if there is one.

    Below a local domain, ``user@host``, ``user%host`` and ``host!user`` are the same.
    """
    local, at, _ = address.rpartition(b"@")
    if not at:
        local = address
    for separator in (b"@", b"%"):
        user, found, host = local.rpartition(separator)
        if found and user and host:
            return user + b"@" + host.rstrip(b".")
    host, found, user = local.partition(b"!")
    return user + b"@" + host.rstrip(b".") if found and user and host else b""


def is_placeless(address: bytes) -> bool:
    """Return whether an address names no whole domain, so that any local one may be meant.

    To a domain without a dot, Postfix may append its own (``append_dot_mydomain``).
    """
    domain = address.rpartition(b"@")[2]
    return b"@" not in address or b"." not in domain or domain.startswith(b"[")


def unextended(address: bytes, delimiters: str) -> bytes:
    """Return an address without its extension; itself when it has none.

    As in Postfix, an address that begins with a delimiter has none.

    Args:
        address: in lower case.
        delimiters: Postfix's ``recipient_delimiter``: each of its characters is one.
    """
    local, at, domain = address.rpartition(b"@")
    for delimiter in delimiters:
        local = local.partition(delimiter.encode())[0]
    return local + at + domain if local else address
