from __future__ import annotations

import ipaddress

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greylist.addresses import is_private, is_private_text, network, parse_address
from greylist.whitelist.networks import Networks, parse_network, parse_networks


@pytest.mark.parametrize(
    ("address", "prefixes", "expected"),
    [
        (b"192.0.2.77", (24, 64), b"192.0.2.0"),
        (b"192.0.2.77", (32, 64), b"192.0.2.77"),
        (b"192.0.2.77", (16, 64), b"192.0.0.0"),
        (b"192.0.2.77", (25, 64), b"192.0.2.0"),
        (b"192.0.2.177", (25, 64), b"192.0.2.128"),
        (b"192.0.2.77", (1, 64), b"128.0.0.0"),
        (b"2001:db8:1:2:3:4:5:6", (24, 64), b"2001:db8:1:2::"),
        (b"2001:db8:1:2:3:4:5:6", (24, 128), b"2001:db8:1:2:3:4:5:6"),
        (b"2001:DB8::0:6", (24, 128), b"2001:db8::6"),
        (b"2001:db8:1:2:3:4:5:6", (24, 48), b"2001:db8:1::"),
        (b"::ffff:192.0.2.77", (24, 64), b"192.0.2.0"),
        (b"::FFFF:c000:24d", (32, 64), b"192.0.2.77"),
        (b"unknown", (24, 64), b"unknown"),
        (b"192.0.2", (24, 64), b"192.0.2"),
        (b"192.0.2.256", (24, 64), b"192.0.2.256"),
        (b"192.0.2.1\0", (24, 64), b"192.0.2.1\0"),
        (b"\xff\xfe", (24, 64), b"\xff\xfe"),
        (b"", (24, 64), b""),
    ],
)
def test_network(address, prefixes, expected):
    """A client is the first address of its network; what is no address stays as it is."""
    assert network(address, *prefixes) == expected


@hypothesis.settings(deadline=None)
@given(st.ip_addresses(v=4), st.integers(1, 32))
def test_ipv4_as_ipaddress_has_it(address, prefix):
    """The network of an IPv4 address is the one that the standard library finds."""
    expected = ipaddress.ip_network((address, prefix), strict=False).network_address
    assert network(str(address).encode(), prefix, 64) == str(expected).encode()


NAT64 = ipaddress.ip_network("64:ff9b::/96")


@hypothesis.settings(deadline=None)
@given(st.ip_addresses(v=6), st.integers(1, 128))
def test_ipv6_as_ipaddress_has_it(address, prefix):
    """The network of an IPv6 address is the one that the standard library finds."""
    if address.ipv4_mapped or address in NAT64:
        return
    expected = ipaddress.ip_network((address, prefix), strict=False).network_address
    found = network(str(address).encode(), 24, prefix)
    assert ipaddress.ip_address(found.decode()) == expected


@hypothesis.settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes(text):
    """Any bytes are an address or none, a network or a ValueError, and nothing else."""
    parsed = parse_address(text)
    assert parsed is None or parsed[1] in {32, 128}
    try:
        number, bits, shift = parse_network(text)
    except ValueError:
        return
    assert 0 <= number < 1 << (bits - shift)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        (b"192.0.2.5", b"192.0.2.5", b"192.0.2.6"),
        (b"10", b"10.200.3.4", b"11.0.0.1"),
        (b"10.1", b"10.1.3.4", b"10.2.3.4"),
        (b"10.1.2", b"10.1.2.4", b"10.1.3.4"),
        (b"192.0.2.0/25", b"192.0.2.127", b"192.0.2.128"),
        (b"192.0.2.9/24", b"192.0.2.250", b"192.0.3.1"),
        (b"0.0.0.0/0", b"203.0.113.9", b"2001:db8::1"),
        (b"2001:db8::/32", b"2001:db8:ffff::1", b"2001:db9::1"),
        (b"2001:db8::5", b"2001:db8::5", b"2001:db8::6"),
        (b"::ffff:192.0.2.0/120", b"192.0.2.9", b"192.0.3.9"),
        (b"192.0.2.0/24", b"::ffff:192.0.2.9", b"::192.0.2.9"),
    ],
)
def test_in_a_network(text, inside, outside):
    """An address is in a network when their first bits agree, /16 and /8 included."""
    networks = Networks()
    networks.add(text, 7)
    assert networks.find(inside) == 7
    assert networks.find(outside) is None


@pytest.mark.parametrize(
    "text",
    [b"", b"/", b"/24", b"192.0.2.0/", b"192.0.2.0/33", b"192.0.2.0/0024", b"192.0.2.0/x",
     b"2001:db8::/129", b"10./8", b"1.2.3.4.5", b"1.2.300", b"example.com", b"::ffff:192.0.2.0/95",
     b"192.0.2.0/24/24", b"10.0/16", b"\xff"],
)  # fmt: skip
def test_no_network(text):
    """What is no network is refused."""
    with pytest.raises(ValueError, match=r"neither an address|prefix length"):
        Networks().add(text, 7)


@hypothesis.settings(deadline=None)
@given(
    st.one_of(
        st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
        st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
        st.tuples(st.ip_addresses(v=4), st.integers(0, 300)),
    )
)
@hypothesis.example((ipaddress.ip_address("0.0.0.0"), ipaddress.ip_address("255.255.255.255")))
@hypothesis.example((ipaddress.ip_address("192.0.2.7"), 0))
def test_ranges_as_ipaddress_has_them(ends):
    """A range is the fewest networks, those that the standard library finds."""
    first, last = ends
    if isinstance(last, int):
        hypothesis.assume(int(first) + last < 1 << 32)
        last = first + last
    first, last = sorted((first, last))
    bits = first.max_prefixlen
    hypothesis.assume(bits == 32 or not any(one.ipv4_mapped or one in NAT64 for one in ends))
    found = parse_networks(f"{first}-{last}".encode())
    assert found == [
        (int(each[0]) >> (bits - each.prefixlen), bits, bits - each.prefixlen)
        for each in ipaddress.summarize_address_range(first, last)
    ]


def test_thousands_of_networks():
    """However many networks there are, a look-up is one step for each prefix length."""
    networks = Networks()
    for number in range(20000):
        text = b"10.%d.%d.0/24" % divmod(number, 256)
        networks.add(text, number)
    assert networks.find(b"10.77.255.9") == 77 * 256 + 255
    assert networks.find(b"10.200.1.9") is None
    assert len(networks._tables) == 1


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        (b"64:ff9b::192.0.2.9", b"192.0.2.0"),
        (b"64:ff9b::c000:209", b"192.0.2.0"),
        (b"64:FF9B::C000:0209", b"192.0.2.0"),
        (b"64:ff9b::1:c000:209", b"64:ff9b::"),
        (b"64:ff9b:1::192.0.2.9", b"64:ff9b:1::"),
    ],
)
def test_clients_behind_nat64(address, expected):
    """The IPv4 address that a translator wrote as IPv6 is the client (RFC 6052)."""
    assert network(address, 24, 64) == expected


def test_all_of_ipv4_is_no_line():
    """The translator's own prefix would stand for everybody that has an IPv4 address."""
    for text in (b"64:ff9b::/96", b"::ffff:0:0/96"):
        with pytest.raises(ValueError, match="all of IPv4"):
            parse_network(text)
    assert parse_network(b"64:ff9b::192.0.2.0/120") == parse_network(b"192.0.2.0/24")


@pytest.mark.parametrize(
    ("text", "private"),
    [
        (b"10.1.2.3", True), (b"::ffff:10.1.2.3", True), (b"fd00::1", True),
        (b"192.0.2.1", False), (b"2001:db8::1", False), (b"unknown", False), (b"", False),
    ],
)  # fmt: skip
def test_private_texts(text, private):
    """What is no address is not private either."""
    assert is_private_text(text) is private


@hypothesis.settings(deadline=None)
@given(st.ip_addresses())
def test_private_addresses(address):
    """Private and local addresses are those of the standard library that a gateway may have."""
    networks = (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 "
        "192.168.0.0/16 ::/127 fc00::/7 fe80::/10"
    ).split()
    expected = any(address in ipaddress.ip_network(text) for text in networks)
    if address.version == 4 or not (address.ipv4_mapped or address in NAT64):
        assert is_private(int(address), address.max_prefixlen) == expected
    for text in networks:
        first = ipaddress.ip_network(text)[0]
        last = ipaddress.ip_network(text)[-1]
        assert is_private(int(first), first.max_prefixlen)
        assert is_private(int(last), first.max_prefixlen)
        assert not is_private(int(last) + 1, first.max_prefixlen)
