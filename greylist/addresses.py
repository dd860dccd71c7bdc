"""Addresses and networks as numbers.

The standard library's ``ipaddress`` does more, and takes longer to import than all of ours.
An IPv4 address written as IPv6 (``::ffff:192.0.2.1``, RFC 4291, section 2.5.5.2) is IPv4, and so
is one that a translator writes so (``64:ff9b::192.0.2.1``, NAT64, RFC 6052, section 2.1).
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.whitelist.whitelist import Line

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
    """Return an address as a number and its length in bits, or nothing when it is none."""
    try:
        name = text.decode("ascii")
        packed = inet_pton(AF_INET6 if ":" in name else AF_INET, name)
    except (OSError, ValueError):
        return None
    if packed.startswith((_MAPPED, _NAT64)):
        packed = packed[12:]
    return int.from_bytes(packed, "big"), len(packed) * 8


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
    packed = (number >> shift << shift).to_bytes(bits // 8, "big")
    return inet_ntop(AF_INET if bits == 32 else AF_INET6, packed).encode()


def parse_network(text: bytes) -> tuple[int, int, int]:
    """Return a network as its number without the host's bits, address length and host bits.

    Args:
        text: ``192.0.2.0/24``, ``2001:db8::/32``, an address, or the first octets of one.

    Raises:
        ValueError: it is none of these.
    """
    base, slash, length = text.partition(b"/")
    if not slash:
        base, length = _whole(base)
    address = parse_address(base)
    if address is None or not (length.isdigit() and len(length) <= 3):
        raise ValueError("neither an address nor a network")
    number, bits = address
    shift = bits - int(length)
    if bits == 32 and b":" in base:
        shift += 96
        if shift == 32:
            raise ValueError("the prefix length makes it all of IPv4")
    if not 0 <= shift <= bits:
        raise ValueError("the prefix length is out of range")
    return number >> shift, bits, shift


def _whole(base: bytes) -> tuple[bytes, bytes]:
    """Return the address and prefix length that an address or its first octets stand for."""
    octets = base.split(b".")
    if len(octets) < 4 and all(octet.isdigit() for octet in octets):
        return b".".join(octets + [b"0"] * (4 - len(octets))), b"%d" % (8 * len(octets))
    return base, b"128" if b":" in base else b"32"


class Networks:
    """Any number of networks, each with a line that names it.

    One table for each prefix length: a look-up takes as many steps as there are lengths,
    however many networks there are.
    """

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[int, Line]] = {}

    def add(self, text: bytes, line: Line) -> None:
        """Add a network, in a form that ``parse_network`` takes.

        Raises:
            ValueError: it is none.
        """
        number, bits, shift = parse_network(text)
        table = self._tables.get((bits, shift))
        if table is None:
            table = self._tables[bits, shift] = {}
        table.setdefault(number, line)

    def find(self, text: bytes) -> Line | None:
        """Return the line of a network that this address is in, or nothing."""
        address = parse_address(text) if self._tables else None
        if address is None:
            return None
        number, length = address
        for (bits, shift), table in self._tables.items():
            line = table.get(number >> shift) if bits == length else None
            if line is not None:
                return line
        return None
