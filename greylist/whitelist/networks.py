"""Networks, any number of them looked through at once; and the forms in which lists have them.

Beside ``192.0.2.0/24``, an address or its first octets: ``192.0.2.*`` (sqlgrey), ``192.0.2.``
(hosts_access(5)), ``192.0.2.1-192.0.2.9`` and ``192.0.2.1-9``, and several with commas.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop

from greylist.addresses import parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    Network = tuple[int, int, int]


def parse_networks(text: bytes) -> list[Network]:
    """Return the networks of a list's line, each as ``parse_network`` does.

    Raises:
        ValueError: one of the items is none of the forms above.
    """
    found = []
    for item in text.split(b","):
        first, dash, last = item.strip().partition(b"-")
        if dash:
            found += _range(first.strip(), last.strip())
        else:
            found.append(parse_network(_without_wildcards(first)))
    return found


def is_network(text: bytes) -> bool:
    """Return whether a text is a network, or several."""
    try:
        return bool(parse_networks(text))
    except ValueError:
        return False


def doubt(text: bytes) -> str:
    """Return what networks of a list's line may be by mistake, or an empty text.

    Raises:
        ValueError: as parse_networks does.
    """
    for item in text.split(b","):
        networks = parse_networks(item)
        number, bits, shift = networks[0]
        if shift == bits:
            return f"matches everybody who comes by IPv{4 if bits == 32 else 6}"
        base = item.strip().partition(b"/")[0]
        address = parse_address(base)
        is_octet = base.isdigit()
        if is_octet or (address and address[0] != number << shift):
            why = "one octet alone" if is_octet else "bits beyond the prefix"
            return f"{why}: this is all of {_text(number, bits, shift)}; write that"
    return ""


def _text(number: int, bits: int, shift: int) -> str:
    packed = (number << shift).to_bytes(bits // 8)
    return f"{inet_ntop(AF_INET if bits == 32 else AF_INET6, packed)}/{bits - shift}"


def _without_wildcards(text: bytes) -> bytes:
    base = text
    while base.endswith(b".*"):
        base = base[:-2]
    return base.removesuffix(b".") if base.count(b".") < 4 else base


def _range(first: bytes, last: bytes) -> list[Network]:
    """Return the fewest networks that are all addresses from one to another."""
    if last.isdigit():
        last = first.rpartition(b".")[0] + b"." + last
    start, end = parse_address(first), parse_address(last)
    if start is None or end is None or start[1] != end[1] or start[0] > end[0]:
        raise ValueError("not a range from an address to a higher one")
    number, bits = start
    found = []
    while number <= end[0]:
        shift = (number & -number).bit_length() - 1 if number else bits
        while number + (1 << shift) - 1 > end[0]:
            shift -= 1
        found.append((number >> shift, bits, shift))
        number += 1 << shift
    return found


def parse_network(text: bytes) -> Network:
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
    if all(map(bytes.isdigit, octets)):
        return b".".join(octets + [b"0"] * (4 - len(octets))), b"%d" % (8 * len(octets))
    return base, b"128"


class Networks:
    """Any number of networks, each with the number of the line that names it.

    One table for each prefix length: a look-up takes as many steps as there are lengths,
    however many networks there are.
    """

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[tuple[int, int], dict[int, int]] = {}

    def add(self, text: bytes, line: int) -> None:
        """Add the networks of the line with this number, in a form that ``parse_networks`` takes.

        Raises:
            ValueError: one is none.
        """
        for number, bits, shift in parse_networks(text):
            self._tables.setdefault((bits, shift), {}).setdefault(number, line)

    def find(self, text: bytes) -> int | None:
        """Return the number of a line whose network this address is in, or None."""
        address = parse_address(text) if self._tables else None
        if address is None:
            return None
        number, length = address
        for (bits, shift), table in self._tables.items():
            line = table.get(number >> shift) if bits == length else None
            if line is not None:
                return line
        return None
