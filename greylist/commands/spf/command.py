"""``greylist spf``: the networks that domains send from, as lines of a whitelist."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from greylist.commands.spf.evaluation import Evaluation
from greylist.commands.spf.networks import SpfError, collapse, subtract
from greylist.commands.whole_file import write_whole
from greylist.missing import remedy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.commands.spf.networks import Network
    from greylist.commands.spf.resolver import Resolver


@click.command("spf", short_help="Print the networks in domains' SPF records.")
@click.argument("domains", nargs=-1, required=True, metavar="DOMAIN...")
@click.option("--output", "path", metavar="FILE", help="Write this file, at once as a whole.")
@click.option(
    "--server",
    metavar="ADDRESS",
    default="",
    help="Ask this DNS server; [ADDRESS]:PORT for another port. [default: as in resolv.conf]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1, max=60),
    default=10,
    show_default=True,
    help="Seconds for the answer to one question.",
)
def command(domains: tuple[str, ...], path: str | None, server: str, timeout: float) -> None:
    """Print the networks in the SPF records of DOMAINs, as lines of nogreylist.

    Includes and redirects are followed, with the limits of RFC 7208. If a domain has no record,
    or one with a mistake, with macros or with more than may be looked up, or if DNS does not
    answer, nothing is printed, and a FILE stays as it is. Exit status: 0, or 1 if a domain
    failed.

    \b
    Example (from cron):
      greylist spf --output /etc/postfix/nogreylist.spf example.com example.net
    """
    resolver = _resolver(server, timeout)
    found: dict[str, list[Network]] = {}
    failed = False
    for domain in dict.fromkeys(domain.rstrip(".").lower() for domain in domains):
        try:
            found[domain] = Evaluation(resolver).networks(domain)
        except SpfError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    if failed:
        raise click.exceptions.Exit(1)
    text = "\n".join([*lines(found, time.strftime("%Y-%m-%d")), ""])
    if path:
        write_whole(path, text)
    else:
        click.echo(text, nl=False)


def lines(found: dict[str, list[Network]], day: str) -> Iterable[str]:
    """Yield the lines of a whitelist, each network once.

    Args:
        found: the networks of each domain.
        day: as YYYY-MM-DD, which ``greylist check`` reads.
    """
    yield "# Networks in SPF records, by greylist spf."
    yield f"# Dated: {day}"
    before: list[Network] = []
    for domain, networks in found.items():
        yield ""
        yield f"# {domain}"
        for network in collapse(subtract(networks, before)):
            yield f"client_address={network}"
        before += networks


def _resolver(server: str, timeout: float) -> Resolver:
    try:
        from greylist.commands.spf.resolver import Resolver
    except ImportError as error:
        raise click.ClickException(remedy(error)) from error
    address, port = server, "53"
    if server.startswith("[") or server.count(":") == 1:
        address, _, port = server.rpartition(":")
    try:
        if not 0 < int(port) < 65536:
            raise ValueError("no port")
        return Resolver(address.strip("[]"), int(port), timeout)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{server!r}: {error}", param_hint="--server") from error
