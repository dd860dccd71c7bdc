"""The networks from which a domain's mail passes SPF, whatever mail it is (RFC 7208)."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from greylist.commands.spf.networks import SpfError, collapse, subtract
from greylist.commands.spf.record import is_record, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.commands.spf.networks import Network
    from greylist.commands.spf.record import Record, Term
    from greylist.commands.spf.resolver import Resolver

_LOOKUPS = 10
"""Terms that ask DNS, in a domain's record and all that belong to it (section 4.6.4)."""

_VOIDS = 2
"""Questions that found nothing (section 4.6.4)."""

_EXCHANGERS = 10
"""Names that an ``mx`` may find (section 4.6.4)."""

_SHORTEST = {4: 8, 6: 16}
"""The shortest prefix of IPv4 and of IPv6 that one sender can have to itself."""


class Evaluation:
    """The evaluation of one domain, with its limits."""

    def __init__(self, resolver: Resolver) -> None:
        """Args: resolver: answers from DNS."""
        self._resolver = resolver
        self._lookups = 0
        self._voids = 0

    def networks(self, domain: str) -> list[Network]:
        """Return the networks of a domain, in order, none within another.

        Raises:
            SpfError: there is no record, a mistake in one, more than may be asked for, no answer,
                or something that no list of networks can say.
        """
        return collapse(self._passing(domain, ()))

    def _passing(self, domain: str, path: tuple[str, ...]) -> list[Network]:
        """Return the networks whose mail passes.

        Args:
            domain: whose record it is.
            path: the domains whose records led here.
        """
        if domain in path:
            raise SpfError(f"{' -> '.join((*path, domain))}: leads to itself")
        record = self._record(domain)
        path = (*path, domain)
        passing: list[Network] = []
        decided: list[Network] = []
        for term in record.terms:
            if term.name == "all":
                if term.passes:
                    raise SpfError(f"{domain}: {term.text} lets everybody pass")
                break
            matched = self._matched(term, domain, path)
            # The first mechanism that matches decides (section 4.6.2).
            if term.passes:
                passing += subtract(matched, decided)
            decided += matched
        if record.redirect:
            self._count(f"{domain}: redirect={record.redirect}")
            passing += subtract(self._passing(record.redirect, path), decided)
        return passing

    def _record(self, domain: str) -> Record:
        records = [text for text in self._resolver.texts(domain) if is_record(text)]
        if len(records) != 1:
            raise SpfError(f"{domain}: has {'several' if records else 'no'} SPF records")
        try:
            return parse(records[0])
        except SpfError as error:
            raise SpfError(f"{domain}: {error}") from None

    def _matched(self, term: Term, domain: str, path: tuple[str, ...]) -> list[Network]:
        """Return the networks that a mechanism matches."""
        where = f"{domain}: {term.text}"
        if term.network:
            return [_narrow(term.network, where)]
        if term.name in {"ptr", "exists"}:
            raise SpfError(f"{where} is about each client: it has no networks")
        self._count(where)
        if term.name == "include":
            return self._passing(term.domain, path)
        return self._around(self._hosts(term, domain, where), term.lengths, where)

    def _hosts(self, term: Term, domain: str, where: str) -> list[str]:
        """Return the names whose addresses ``a`` or ``mx`` is about."""
        name = term.domain or domain
        if term.name == "a":
            return [name]
        exchangers = self._resolver.exchangers(name)
        if len(exchangers) > _EXCHANGERS:
            raise SpfError(f"{where} finds more than {_EXCHANGERS} mail exchangers")
        if not exchangers:
            self._void(where)
        return exchangers

    def _around(self, hosts: Iterable[str], lengths: tuple[int, int], where: str) -> list[Network]:
        """Return the networks of these lengths around the addresses of hosts."""
        networks = []
        for host in hosts:
            addresses = [ipaddress.ip_address(text) for text in self._resolver.addresses(host)]
            if not addresses:
                self._void(where)
            for address in addresses:
                length = lengths[0 if address.version == 4 else 1]
                network = ipaddress.ip_network((address, length), strict=False)
                networks.append(_narrow(network, where))
        return networks

    def _count(self, where: str) -> None:
        self._lookups += 1
        if self._lookups > _LOOKUPS:
            raise SpfError(f"{where} is one look-up more than the {_LOOKUPS} that SPF allows")

    def _void(self, where: str) -> None:
        self._voids += 1
        if self._voids > _VOIDS:
            raise SpfError(f"{where}: more than {_VOIDS} look-ups find nothing")


def _narrow(network: Network, where: str) -> Network:
    """Return the network, unless it is so wide that it means nearly everybody."""
    if network.prefixlen < _SHORTEST[network.version]:
        raise SpfError(f"{where}: {network} is too wide to be one sender's")
    return network
