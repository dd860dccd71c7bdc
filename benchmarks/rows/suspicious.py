"""Whom ``greylist_clients = suspicious`` lets wait: the clients of a public corpus."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

from benchmarks import corpus
from benchmarks.bench import Table
from greylist.client import suspicious as sign_of
from greylist.settings import Settings

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.corpus import Client

TUNED, HELD_BACK = 0, 1
"""The half of the corpus that the rule was made with, and the one that it was not."""


def suspicious(bench: Bench) -> list[Table]:
    """Ask the rule about each client."""
    bench.say("the clients of the SpamAssassin corpus")
    table = Table(
        "greylist_clients = suspicious, on the SpamAssassin corpus of 2002",
        "sign | spam, half for tuning | ham, half for tuning | spam, half held back "
        "| ham, half held back",
        "Distinct public addresses that handed over a message. Many servers had no name then. "
        "The spam without a sign comes from mail servers, which would come again.",
    )
    if not shutil.which("npm"):
        table.add("not measured: npm is not here", "", "", "", "")
        return [table]
    groups: dict[tuple[int, bool], list[Client]] = {}
    for client in corpus.clients(bench.place()):
        groups.setdefault((client.half, client.spam), []).append(client)
    order = [(half, spam) for half in (TUNED, HELD_BACK) for spam in (True, False)]
    seen = [Counter(map(_sign, groups[group])) for group in order]
    signs = sorted({sign for signs in seen for sign in signs if sign}, key=lambda s: -seen[2][s])
    for sign in signs:
        table.add(sign, *(_share(each[sign], each) for each in seen))
    waits = [each.total() - each[""] for each in seen]
    table.add("waits", *(_share(*pair) for pair in zip(waits, seen, strict=True)))
    table.add("clients", *(str(each.total()) for each in seen))
    return [table]


def _sign(client: Client) -> str:
    settings = Settings()
    settings.set("hostname", client.server)
    request = {
        b"client_address": client.address.encode(),
        b"client_name": client.name.encode(),
        b"helo_name": client.helo.encode("latin-1"),
        b"recipient": f"somebody@{client.domain}".encode() if client.domain else b"",
    }
    return sign_of(request, settings)


def _share(count: int, group: Counter[str]) -> str:
    return f"{100 * count / group.total():.1f} %"
