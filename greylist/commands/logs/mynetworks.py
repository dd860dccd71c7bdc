"""Postfix's ``mynetworks``: the clients that are let through before a policy service is asked."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from greylist.addresses import parse_address
from greylist.whitelist.networks import parse_network

if TYPE_CHECKING:
    from collections.abc import Iterator

_SEPARATOR = re.compile(r"[\s,]+")


class Networks:
    """A list of networks in the form of Postfix's ``mynetworks`` (postconf(5)).

    The first item in which an address is decides; ``!`` in front of one keeps it out. A path
    stands for the items in that file.

    Attributes:
        unread: the items that are neither, such as tables.
    """

    def __init__(self, text: str) -> None:
        self.unread: list[str] = []
        self._items: list[tuple[bool, int, int, int]] = []
        for item in _items(text):
            self._add(item)

    def _add(self, item: str) -> None:
        excluded = item.startswith("!")
        text = item.lstrip("!").replace("[", "").replace("]", "")
        try:
            self._items.append((not excluded, *parse_network(text.encode())))
        except ValueError:
            self.unread.append(item)

    def __contains__(self, address: object) -> bool:
        parsed = parse_address(address) if isinstance(address, bytes) else None
        if parsed is None:
            return False
        number, length = parsed
        for included, network, bits, shift in self._items:
            if bits == length and number >> shift == network:
                return included
        return False


def _items(text: str) -> Iterator[str]:
    """Yield the items of a list, those of files in it in place of the files."""
    for item in filter(None, _SEPARATOR.split(text)):
        if not item.startswith("/"):
            yield item
            continue
        try:
            with open(item, encoding="utf-8", errors="replace") as file:
                for line in file:
                    yield from filter(None, _SEPARATOR.split(line.partition("#")[0]))
        except OSError:
            yield item


def configured() -> tuple[str, str]:
    """Return ``mynetworks`` and ``always_bcc`` of this machine's Postfix; empty without one."""
    program = shutil.which("postconf") or shutil.which("postconf", path="/usr/sbin")
    if program is None:
        return "", ""
    values = {}
    with subprocess.Popen(
        [program, "-x", "mynetworks", "always_bcc"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout
        for line in process.stdout:
            name, _, value = line.partition(" =")
            values[name] = value.strip()
            if "fatal:" in line:
                process.kill()  # which otherwise sleeps for a second
    return values.get("mynetworks", ""), values.get("always_bcc", "")
