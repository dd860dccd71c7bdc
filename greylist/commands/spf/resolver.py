"""DNS, by way of dnspython."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import dns.exception
import dns.name
import dns.resolver

from greylist.commands.spf.networks import SpfError

if TYPE_CHECKING:
    from typing import Any


class Resolver:
    """Asks the servers of resolv.conf(5), or one that is named."""

    def __init__(self, server: str, port: int, timeout: float) -> None:
        """Read resolv.conf(5), unless a server is named.

        Args:
            server: an address, or empty.
            port: the server's.
            timeout: seconds for one question.

        Raises:
            ValueError: it is no address, or there is no server in resolv.conf(5).
        """
        try:
            self._resolver = dns.resolver.Resolver(configure=not server)
        except dns.exception.DNSException as error:
            raise ValueError(str(error)) from error
        self._resolver.lifetime = timeout
        if server:
            self._resolver.nameservers = [server]
            self._resolver.port = port

    def texts(self, domain: str) -> list[str]:
        """Return the TXT records of a domain, each with its strings put together."""
        records = self._resolve(domain, "TXT")
        return [b"".join(record.strings).decode("ascii", "replace") for record in records]

    def addresses(self, domain: str) -> list[str]:
        """Return the IPv4 and IPv6 addresses of a name."""
        return [record.address for kind in ("A", "AAAA") for record in self._resolve(domain, kind)]

    def exchangers(self, domain: str) -> list[str]:
        """Return the names of a domain's mail exchangers, none for a null MX (RFC 7505)."""
        names = (record.exchange for record in self._resolve(domain, "MX"))
        return [name.to_text(omit_final_dot=True) for name in names if name != dns.name.root]

    def _resolve(self, domain: str, kind: str) -> list[Any]:
        """Return the records, none if there is no such name or none of the kind.

        Raises:
            SpfError: no server answered, or the name cannot be asked for.
        """
        with contextlib.suppress(dns.resolver.NXDOMAIN):
            try:
                name = dns.name.from_text(domain)
                return list(self._resolver.resolve(name, kind, raise_on_no_answer=False))
            except dns.resolver.NXDOMAIN:
                raise
            except dns.exception.DNSException as error:
                raise SpfError(f"DNS did not answer for {domain} {kind}: {error}") from error
        return []
