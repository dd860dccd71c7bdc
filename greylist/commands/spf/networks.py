"""Networks taken from networks."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

Network = IPv4Network | IPv6Network


class SpfError(ValueError):
    """What a domain publishes cannot be turned into a list of networks."""


def subtract(networks: Iterable[Network], taken: Iterable[Network]) -> list[Network]:
    """Return what is left of networks."""
    left = list(networks)
    for hole in taken:
        left = [part for network in left for part in _without(network, hole)]
    return left


def _without(network: Network, hole: Network) -> Iterable[Network]:
    if isinstance(network, IPv4Network) and isinstance(hole, IPv4Network):
        if network.overlaps(hole):
            return network.address_exclude(hole) if hole.prefixlen > network.prefixlen else ()
    elif (
        isinstance(network, IPv6Network)
        and isinstance(hole, IPv6Network)
        and network.overlaps(hole)
    ):
        return network.address_exclude(hole) if hole.prefixlen > network.prefixlen else ()
    return (network,)


def collapse(networks: Iterable[Network]) -> list[Network]:
    """Return networks in order, none within another, IPv4 first."""
    every = list(networks)
    ipv4 = [network for network in every if isinstance(network, IPv4Network)]
    ipv6 = [network for network in every if isinstance(network, IPv6Network)]
    return [*collapse_addresses(ipv4), *collapse_addresses(ipv6)]
