"""``greylist pass``: let somebody through now."""

from __future__ import annotations

import ipaddress
import os
import time
from operator import attrgetter, itemgetter
from typing import TYPE_CHECKING

import click

from greylist.addresses import parse_address
from greylist.client import identities
from greylist.commands import output
from greylist.commands.entry import Entry, client_text, entry_of
from greylist.commands.forget import choose
from greylist.commands.list import show
from greylist.commands.pools import first_attempt, pools_of
from greylist.commands.selection import Selection, domain_of, selectors
from greylist.commands.session import apply, opened
from greylist.expiry import state_of
from greylist.triplet import Triplet, client_key

if TYPE_CHECKING:
    from typing import Any

    from greylist.settings import Settings
    from greylist.store import Entries

_CHANGED = ("waiting", "expired")


@click.command("pass", short_help="Let a client, sender or recipient through now.")
@selectors
@click.option("--trust", metavar="ADDRESS", help="Trust this client, whatever it sends.")
@click.option("--dry-run", is_flag=True, help="Only show what would be let through.")
@output.json_option
@click.pass_obj
def command(
    settings: Settings, /, trust: str | None, dry_run: bool, as_json: bool, **selectors: Any
) -> None:
    """Let the triplets that match and still wait through at their next attempt.

    PATTERN and the options select as for list; at least one is needed. With --trust, the
    client (its network, as greylisted) is trusted instead, as if it had earned it; that lasts
    as long as it sends mail at least once in max_age. With pool = domain, clients with a
    verified name are known by its domain: name the host. Exit status: 0, or 1 if nothing
    matches.

    \b
    Examples:
      greylist pass '*@example.com'
      greylist pass --trust 192.0.2.1
    """
    selection = Selection(**selectors)
    if bool(selection) == bool(trust):
        raise click.UsageError("say who: PATTERN or an option, or else --trust; see --help")
    now = int(time.time())
    if trust:
        passed = [_trust(settings, trust, now, dry_run)]
    else:
        passed = _pass(settings, selection, now, dry_run)
    if dry_run or as_json:
        show(passed, settings, as_json)
    elif trust:
        click.echo(f"{client_text(passed[0].client, settings)} is trusted.")
    else:
        click.echo(f"{len(passed)} will pass at the next attempt.")


def _pass(settings: Settings, selection: Selection, now: int, dry_run: bool) -> list[Entry]:
    """Note that the triplets that wait have passed; return those that were meant."""

    def let_through(entries: Entries, entry: Entry) -> None:
        found = entries.get(entry.key)
        if found is None:
            return  # it went meanwhile
        state, triplet = state_of(entry.key, found, settings, now), Triplet.unpack(found)
        if state in _CHANGED:
            passed = triplet if state == "waiting" else Triplet(now)
            passed.passed = True
            entries.put(entry.key, passed.pack(), settings.max_age)

    def let_pool_through(entries: Entries, pool: tuple[bytes, int | None]) -> None:
        key, began = pool
        found = entries.get(key)
        if found is not None and first_attempt(found) == began:
            triplet = Triplet.unpack(found)
            triplet.passed = True
            entries.put(key, triplet.pack(), settings.max_age)

    with opened(settings) as store:
        if not selection.state:
            selection = selection._replace(state=("waiting",))
        chosen = choose(store, settings, selection, now, triplets=True)
        if not dry_run:
            pools = pools_of(store, chosen).items()
            for _ in apply(store, chosen, let_through, attrgetter("key")):
                pass
            # A pool's next attempt may come from elsewhere.
            for _ in apply(store, pools, let_pool_through, itemgetter(0)):
                pass
    return chosen


def _trust(settings: Settings, address: str, now: int, dry_run: bool) -> Entry:
    """Trust a client as if enough of its triplets had passed."""
    if not settings.auto_whitelist:
        raise click.UsageError("auto_whitelist is 0: add the client to the whitelist's file")
    key = client_key(_client(os.fsencode(address), settings))
    value = Triplet(now, count=settings.auto_whitelist).pack()

    def put(entries: Entries) -> None:
        entries.put(key, value, settings.max_age)

    if not dry_run:
        with opened(settings, create=True) as store:
            store.transact(put)
    entry = entry_of(key, value, settings, now)
    assert entry is not None
    return entry


def _client(name: bytes, settings: Settings) -> bytes:
    """Return the identity of the client that a person names."""
    if b"/" in name:
        name = _base(name, settings)
    if parse_address(name):
        names = identities({b"client_address": name}, settings)[2]
        if not names:
            raise click.UsageError(
                f"--trust {output.text(name)}: a private address is never trusted; "
                "add the client to the whitelist's file"
            )
        return names[-1]
    domain = domain_of(name) if settings.pool != "off" else b""
    if not domain:
        words = "an address, its network, or the name of a mail server"
        raise click.UsageError(f"--trust {output.text(name)}: give {words}")
    return domain


def _base(text: bytes, settings: Settings) -> bytes:
    """Return the first address of a network, in the form in which list shows it."""
    try:
        network = ipaddress.ip_network(text.decode("ascii"))
    except ValueError as error:
        raise click.UsageError(f"--trust {output.text(text)}: {error}") from error
    prefix = settings.ipv4_prefix if network.version == 4 else settings.ipv6_prefix
    if network.prefixlen != prefix:
        raise click.UsageError(
            f"--trust {output.text(text)}: clients are networks of {prefix} bits here; "
            "add a larger or smaller one to the whitelist's file"
        )
    return str(network.network_address).encode()
