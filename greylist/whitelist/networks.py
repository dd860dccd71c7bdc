"""Networks, any number of them looked through at once."""

from __future__ import annotations

from greylist.addresses import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.whitelist.lines import Line


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
