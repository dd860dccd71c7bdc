"""An SPF record, read into its terms (RFC 7208, sections 4.5, 4.6, 5, 6 and 12).

record :== "v=spf1" *(1*SP (directive / modifier))
directive :== ["+" / "-" / "?" / "~"] mechanism [":" value] ["/" length] ["//" length]
modifier :== name "=" text
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from greylist.commands.spf.networks import Network, SpfError

_LENGTHS = r"((?:/\d{1,3})?(?://\d{1,3})?)"
_MODIFIER = re.compile(r"([a-z][a-z0-9._-]*)=(.*)", re.IGNORECASE)
_DIRECTIVE = re.compile(r"([-+?~]?)([a-z0-9]+)(?::(.+?))?" + _LENGTHS, re.IGNORECASE)
_ADDRESS = re.compile(r"([-+?~]?)(ip4|ip6):([0-9a-f.:]+(?:/\d+)?)", re.IGNORECASE)
_NAME = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9_-]{1,63}\.)*(?:[a-z0-9_-]{1,63})\.?", re.IGNORECASE)

_VALUES = {"all": (False, False), "ptr": (False, True), "a": (False, True), "mx": (False, True),
           "include": (True, True), "exists": (True, True)}  # fmt: skip
"""For each mechanism, whether it needs a domain, and whether it may have one."""


class Term(NamedTuple):
    """A mechanism of a record.

    Attributes:
        text: as it stands there.
        passes: whether mail of those whom it matches passes; otherwise they are excluded.
        name: in lower case.
        domain: the one that it names, empty for the record's own.
        network: that of ``ip4`` and ``ip6``.
        lengths: of the prefixes around each IPv4 and each IPv6 address that ``a`` and ``mx`` find.
    """

    text: str
    passes: bool
    name: str
    domain: str = ""
    network: Network | None = None
    lengths: tuple[int, int] = (32, 128)


class Record(NamedTuple):
    """The mechanisms up to ``all``, and the domain of ``redirect`` where there is no ``all``."""

    terms: list[Term]
    redirect: str


def is_record(text: str) -> bool:
    """Return whether the text of a TXT record is SPF."""
    return text[:6].lower() == "v=spf1" and text[6:7] in {"", " "}


def parse(text: str) -> Record:
    """Return the terms of a record.

    Raises:
        SpfError: it has a mistake, or a macro in a domain.
    """
    terms: list[Term] = []
    modifiers: dict[str, str] = {}
    for word in text.split(" ")[1:]:
        if found := _MODIFIER.fullmatch(word):
            name = found[1].lower()
            if name in modifiers and name in {"redirect", "exp"}:
                raise SpfError(f"{name}= stands there twice")
            modifiers[name] = found[2]
        elif word:
            terms.append(_term(word))
    redirect = modifiers.get("redirect")
    domain = "" if redirect is None else _domain(redirect, f"redirect={redirect}")
    for number, term in enumerate(terms, 1):
        if term.name == "all":
            return Record(terms[:number], "")
    return Record(terms, domain)


def _term(word: str) -> Term:
    if found := _ADDRESS.fullmatch(word):
        name = found[2].lower()
        return Term(word, found[1] in {"", "+"}, name, network=_network(name, found[3], word))
    found = _DIRECTIVE.fullmatch(word)
    needs, may = _VALUES.get(found[2].lower(), (True, False)) if found else (True, False)
    if not found or (needs and not found[3]) or (found[3] and not may):
        raise SpfError(f"{word} is no mechanism")
    name = found[2].lower()
    domain = _domain(found[3], word) if found[3] else ""
    if found[4] and name not in {"a", "mx"}:
        raise SpfError(f"{word} is no mechanism")
    return Term(word, found[1] in {"", "+"}, name, domain, None, _lengths(found[4], word))


def _network(name: str, text: str, word: str) -> Network:
    kind = ipaddress.IPv4Network if name == "ip4" else ipaddress.IPv6Network
    try:
        return kind(text, strict=False)
    except ValueError:
        raise SpfError(f"{word} has no network") from None


def _lengths(text: str, word: str) -> tuple[int, int]:
    """Return the lengths of ``/LENGTH//LENGTH``, each of which may be missing."""
    ipv4, _, ipv6 = text.partition("//")
    lengths = int(ipv4.removeprefix("/") or 32), int(ipv6 or 128)
    if lengths[0] > 32 or lengths[1] > 128:
        raise SpfError(f"{word} has no network")
    return lengths


def _domain(text: str, word: str) -> str:
    if "%" in text:
        raise SpfError(f"{word} has a macro: it depends on each mail")
    if not _NAME.fullmatch(text):
        raise SpfError(f"{word} has no domain")
    return text.rstrip(".").lower()
