"""The store in a cluster: each key on the server that has its slot.

slot :== CRC16 of the tag, or else of the whole key, modulo 16384       (the cluster's own rule)

What a transaction writes has to be on one server to be stored as one. A triplet's key has its
sender and recipient in braces, as the tag by which it is placed, so that what is asked together
lies together; all other keys stand alone. Changes in several slots are stored one slot after the
other: an entry that is lost in between costs one more delay.
"""

from __future__ import annotations

import time
from binascii import crc_hqx

from greylist.store.valkey.errors import Refused, Unavailable
from greylist.store.valkey.sentinel import SHARE
from greylist.store.valkey.server import ANY, PREFIX, SingleServer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from greylist.store import Entry
    from greylist.store.valkey.secrets import Secrets
    from greylist.store.valkey.server import Change
    from greylist.store.valkey.url import Address

    Place = tuple[str, int]
    A = TypeVar("A")
    T = TypeVar("T")

SLOTS = 16384

REDIRECTS = 5
"""How often a request follows keys that are on the move."""


class Moving(Unavailable):
    """Keys of a slot that is on the move are on two servers: they are asked for one by one."""


class Node(SingleServer):
    """One server of a cluster."""

    @staticmethod
    def stored(key: bytes) -> bytes:
        """Return a key as it stands in a cluster."""
        client, slash, rest = key.partition(b"/")
        return PREFIX + (client + b"/{" + rest + b"}" if client and slash else key)

    @staticmethod
    def ours(stored: bytes) -> bytes:
        """Return the key that stands so in a cluster."""
        key = stored[len(PREFIX) :]
        client, brace, rest = key.partition(b"/{")
        return client + b"/" + rest[:-1] if client and brace else key


class Cluster:
    """The masters of a cluster."""

    def __init__(self, address: Address, secrets: Secrets) -> None:
        """Connect to nothing yet."""
        self._address = address
        self._secrets = secrets
        self._nodes: dict[Place, Node] = {}
        self._slots: list[tuple[int, int, Place]] = []

    def read(self, keys: Sequence[bytes], deadline: float) -> list[bytes | None]:
        """Return the values of keys; those of one slot are of one moment."""
        values: dict[bytes, bytes | None] = {}
        for slot, names in _by_slot(keys).items():
            try:
                found = self._at(slot, Node.read, names, deadline)
            except Moving:
                found = [self._at(slot, Node.read, [name], deadline)[0] for name in names]
            values.update(zip(names, found, strict=True))
        return [values[key] for key in keys]

    def swap(self, changes: list[Change], deadline: float) -> list[bytes | None] | None:
        """Store changes slot by slot; at the first unexpected one, return what there is."""
        by_key = {change[0]: change for change in changes}
        parts = [
            (slot, [by_key[key] for key in names]) for slot, names in _by_slot(list(by_key)).items()
        ]
        # A slot where nothing is stored is compared first.
        parts.sort(key=lambda part: any(change[2] != ANY for change in part[1]))
        for slot, part in parts:
            try:
                found = self._at(slot, Node.swap, part, deadline)
            except Moving:
                each = (self._at(slot, Node.swap, [change], deadline) for change in part)
                found = next((one for one in each if one is not None), None)
            if found is not None:
                return self.read(list(by_key), deadline)
        return None

    def scan(self, cursor: bytes, count: int, deadline: float) -> tuple[bytes, list[Entry]]:
        """Return some entries, and where to go on: which server, and its own cursor."""
        number, _, position = cursor.partition(b":")
        nodes = self.servers(deadline)
        index = int(number or b"0")
        if index >= len(nodes):
            return b"", []
        position, entries = nodes[index].scan(position, count, deadline)
        index += not position
        return (b"%d:%s" % (index, position) if index < len(nodes) else b""), entries

    def servers(self, deadline: float) -> list[SingleServer]:
        """Return all masters, in a fixed order."""
        places = {place for _, _, place in self._slots or self._find(deadline)}
        return [self._node(place) for place in sorted(places)]

    def close(self) -> None:
        """Hang up."""
        for node in self._nodes.values():
            node.close()
        self._nodes.clear()

    def _at(
        self, slot: int, method: Callable[[Node, A, float], T], argument: A, deadline: float
    ) -> T:
        """Return what a method returns of the server that has a slot.

        Raises:
            Moving: there is no server that has all keys.
            Unavailable: it has not answered, or the slot moves too often.
        """
        following = self._node(self._place(slot, deadline))
        asking, text = False, ""
        for _ in range(REDIRECTS):
            node = following
            node.asking = asking
            try:
                return method(node, argument, deadline)
            except Refused as error:
                text = str(error)
                if error.code == "MOVED":
                    self._slots, asking = [], False
                    following = self._node(self._place(slot, deadline))
                elif error.code == "ASK":
                    host, _, port = text.rsplit(maxsplit=1)[-1].rpartition(":")
                    following = self._node((host or self._address.hosts[0][0], int(port)))
                    asking = True
                elif error.code == "TRYAGAIN":
                    raise Moving(text) from error
                else:
                    raise
            except Unavailable:
                self._slots = []  # another server may have them by the next request
                raise
            finally:
                node.asking = False
        raise Unavailable(text)

    def _place(self, slot: int, deadline: float) -> Place:
        for first, last, place in self._slots or self._find(deadline):
            if first <= slot <= last:
                return place
        self._slots = []
        raise Unavailable(f"no server has slot {slot}")

    def _find(self, deadline: float) -> list[tuple[int, int, Place]]:
        """Return which servers have which slots: the first one that answers knows.

        Raises:
            Unavailable: none answers.
        """
        reasons = []
        for place in dict.fromkeys([*self._address.hosts, *self._nodes]):
            until = min(deadline, time.monotonic() + SHARE)
            try:
                found = self._node(place).ask(until, b"CLUSTER", b"SLOTS")
            except Unavailable as error:
                reasons.append(f"{place[0]}:{place[1]}: {error}")
                continue
            self._slots = [(first, last, _named(node, place)) for first, last, node, *_ in found]
            return self._slots
        raise Unavailable("; ".join(reasons))

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            node = self._nodes[place] = Node(self._address.at(*place), self._secrets)
        return node


def _named(node: list[Any], asked: Place) -> Place:
    """Return the place of a server; one that does not know its own host is the one asked."""
    host = (node[0] or b"").decode("ascii", "replace")
    return (asked[0] if host in {"", "?"} else host), int(node[1])


def slot_of(stored: bytes) -> int:
    """Return the slot of a key: that of what stands between its first brace and the next."""
    _, brace, rest = stored.partition(b"{")
    tag, end, _ = rest.partition(b"}")
    return crc_hqx(tag if brace and end and tag else stored, 0) % SLOTS


def _by_slot(keys: Sequence[bytes]) -> dict[int, list[bytes]]:
    slots: dict[int, list[bytes]] = {}
    for key in keys:
        slots.setdefault(slot_of(Node.stored(key)), []).append(key)
    return slots
