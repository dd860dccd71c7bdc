"""Addresses and networks as numbers.

The standard library's ``ipaddress`` does more, and takes longer to import than all of ours.
An IPv4 address written as IPv6 (``::ffff:192.0.2.1``, RFC 4291, section 2.5.5.2) is IPv4, and so
is one that a translator writes so (``64:ff9b::192.0.2.1``, NAT64, RFC 6052, section 2.1).
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

_MAPPED = bytes(10) + b"\xff\xff"
_NAT64 = b"\x00\x64\xff\x9b" + bytes(8)

_PRIVATE_IPV4 = (
    (24, frozenset({0, 10, 127})),  # this host and loopback (RFC 1122), private (RFC 1918)
    (20, frozenset({0xAC1})),  # 172.16.0.0/12, private
    (16, frozenset({0xC0A8, 0xA9FE})),  # 192.168.0.0/16, private; link-local (RFC 3927)
    (22, frozenset({0x191})),  # 100.64.0.0/10, shared by a provider's customers (RFC 6598)
)
_PRIVATE_IPV6 = (
    (1, frozenset({0})),  # :: and ::1
    (121, frozenset({0x7E})),  # fc00::/7, private (RFC 4193)
    (118, frozenset({0x3FA})),  # fe80::/10, link-local (RFC 4291)
)
"""Host bits, and the numbers of the networks with so many."""


def parse_address(text: bytes) -> tuple[int, int] | None:
    """Return an address as a number and its length in bits, or None when it is none."""
    try:
        name = text.decode()
        packed = inet_pton(AF_INET6 if ":" in name else AF_INET, name)
    except (OSError, ValueError):
        return None
    if packed.startswith((_MAPPED, _NAT64)):
        packed = packed[12:]
    return int.from_bytes(packed), len(packed) * 8


def is_private(number: int, bits: int) -> bool:
    """Return whether an address, as ``parse_address`` returns it, is private or local."""
    for shift, starts in _PRIVATE_IPV4 if bits == 32 else _PRIVATE_IPV6:
        if number >> shift in starts:
            return True
    return False


def is_private_text(text: bytes) -> bool:
    """Return whether a text is an address that is private or local."""
    address = parse_address(text)
    return address is not None and is_private(*address)


def network(text: bytes, ipv4_prefix: int, ipv6_prefix: int) -> bytes:
    """Return the first address of the network that an address is in.

    What is no address, such as Postfix's ``unknown``, is returned as it is.
    """
    address = parse_address(text)
    if address is None:
        return text
    return network_of(*address, ipv4_prefix, ipv6_prefix)


def network_of(number: int, bits: int, ipv4_prefix: int, ipv6_prefix: int) -> bytes:
    """Return the first address of the network that an address, as a number, is in."""
    shift = bits - (ipv4_prefix if bits == 32 else ipv6_prefix)
    packed = (number >> shift << shift).to_bytes(bits // 8)
    return inet_ntop(AF_INET if bits == 32 else AF_INET6, packed).encode()
