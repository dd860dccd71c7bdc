"""What other greylisting services store, as entries of ours.

- postgrey: two BTrees in one environment, ``network/sender/recipient`` to ``first,last`` and
  ``address`` to ``count,last``; with ``--privacy`` the keys are SHA-1 sums in hexadecimal.
- greylist.pl, the first public version: ``address/sender/recipient`` to ``time``, and, for its
  auto-whitelist, ``address`` to ``count``.
- greylist.pl, the later one: ``address/sender/recipient`` to ``ctime/atime/count``.
- sqlgrey: an SQLite file; ``connect`` has the triplets that wait, ``from_awl`` and
  ``domain_awl`` the senders and the senders' domains that have passed from a network.

Times are in seconds since the epoch everywhere.
"""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import tempfile
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, NamedTuple, cast

from greylist.addresses import network, parse_address
from greylist.sender import normalize
from greylist.store.berkeley.environment import Damaged, db
from greylist.store.berkeley.pages import check_file
from greylist.triplet import Triplet, client_key, key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from greylist.settings import Settings

CLIENTS = "postgrey_clients.db"

_HASHED = re.compile(rb"[0-9a-f]{40}")
_PAIR = re.compile(rb"(\d+),(\d+)(?:,.*)?", re.DOTALL)
_LOG = re.compile(r"log\.\d{10}")
_UNDEFINED = b"-undef-"

_UNKNOWN = 2
"""The count of a triplet that has passed, when is not known: with 1, its times would be a delay."""


class ForeignError(Exception):
    """A file that cannot be imported; the text says why."""


class Row(NamedTuple):
    """What became of an entry.

    Attributes:
        kind: ``triplets``, ``clients``, ``hashed`` or ``unknown``; only the first two have an
            entry.
        key: the key it has here.
        value: the value it has here.
    """

    kind: str
    key: bytes = b""
    value: bytes = b""


def read(path: str, settings: Settings) -> tuple[str, Iterator[Row]]:
    """Return which service a file or a directory is of, and what is in it.

    Raises:
        ForeignError: of none that is known.
    """
    try:
        if os.path.isdir(path):
            path = os.path.join(path, "postgrey.db")
        with open(path, "rb") as file:
            if file.read(16) == b"SQLite format 3\0":
                return "sqlgrey", sqlgrey(path, settings)
        if not check_file(path):
            raise ForeignError(f"{path} is empty")
    except OSError as error:
        raise ForeignError(f"{path}: {error.strerror}") from error
    except Damaged as damage:
        raise ForeignError(f"{path}: neither SQLite nor a BTree: {damage}") from damage
    beside = os.path.join(os.path.dirname(path), CLIENTS)
    both = os.path.basename(path) == "postgrey.db" and os.path.exists(beside)
    paths = [path, beside] if both else [path]
    return "postgrey" if both else "Berkeley DB", berkeley(paths, settings)


def berkeley(paths: list[str], settings: Settings) -> Iterator[Row]:
    """Yield the entries of BTrees in one directory."""
    changed = int(os.stat(paths[0]).st_mtime)
    with _copied(paths) as databases:
        for database in databases:
            for name, value in database.items():
                yield translate(name, value, settings, changed)


@contextmanager
def _copied(paths: list[str]) -> Iterator[list[Any]]:
    """Open copies of databases, recovered by the log that lies beside them, if any.

    Of a service that runs, the last changes may be in the log only; what is its own is not
    touched.
    """
    directory = os.path.dirname(os.path.abspath(paths[0]))
    logs = [name for name in os.listdir(directory) if _LOG.fullmatch(name)]
    with tempfile.TemporaryDirectory(prefix="greylist-import-") as home:
        try:
            for name in [*map(os.path.basename, paths), *logs]:
                shutil.copyfile(os.path.join(directory, name), os.path.join(home, name))
        except OSError as error:
            raise ForeignError(f"{error.filename}: {error.strerror}") from error
        environment = None
        databases: list[Any] = []
        try:
            if logs:
                environment = db.DBEnv()
                flags = db.DB_INIT_TXN | db.DB_INIT_MPOOL | db.DB_INIT_LOG | db.DB_PRIVATE
                environment.open(home, flags | db.DB_CREATE | db.DB_RECOVER)
            for name in map(os.path.basename, paths):
                database = db.DB(environment)
                databases.append(database)
                database.open(name if logs else os.path.join(home, name), flags=db.DB_RDONLY)
            yield [_Items(database) for database in databases]
        except db.DBError as error:
            raise ForeignError(f"{paths[0]}: {error.args[-1]}") from error
        finally:
            for database in databases:
                database.close()
            if environment is not None:
                environment.close()


class _Items:
    """A database to read from its first entry to its last."""

    def __init__(self, database: Any) -> None:
        self._database = database

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries."""
        with closing(self._database.cursor()) as cursor:
            entry = cursor.first()
            while entry:
                yield entry
                entry = cursor.next()


def translate(name: bytes, value: bytes, settings: Settings, changed: int) -> Row:
    """Return an entry of postgrey or of either greylist.pl as ours.

    Args:
        name: its key.
        value: its value.
        settings: say which network a client belongs to.
        changed: when the file was last written to, for entries without a time.
    """
    # The original ends keys and values with no NUL; programs in C may.
    name, value = name.rstrip(b"\0"), value.rstrip(b"\0")
    if _HASHED.fullmatch(name):
        return Row("hashed")
    pair = _PAIR.fullmatch(value)
    if b"/" not in name:
        if parse_address(name) is None:
            return Row("unknown")
        if pair:
            return client(name, int(pair[1]), int(pair[2]), settings)
        return client(name, int(value), changed, settings) if value.isdigit() else Row("unknown")
    parts = split(name)
    triplet = _triplet(value, pair, settings, changed)
    return _row(*parts, triplet, settings) if parts and triplet else Row("unknown")


def _triplet(
    value: bytes, pair: re.Match[bytes] | None, settings: Settings, changed: int
) -> Triplet | None:
    if pair:
        first, last = int(pair[1]), int(pair[2])
        if last - first >= settings.delay:
            return Triplet(first, last, _UNKNOWN)
        return Triplet(first, last, 1) if last > first else Triplet(first)
    if value.isdigit() and int(value):
        # The first version lets through whatever is old enough, so it may have passed.
        first = int(value)
        passed = changed - first >= settings.delay
        return Triplet(first, first + settings.delay, _UNKNOWN) if passed else Triplet(first)
    try:
        return Triplet.unpack(value)
    except ValueError:
        return None


def split(name: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Return client, sender and recipient of a key in which no slash is escaped.

    The first slash that leaves an address on either side, or none on the left, is taken for
    the one between sender and recipient.
    """
    address, _, rest = name.partition(b"/")
    places = [place for place, code in enumerate(rest) if code == 0x2F]
    if not (address and places):
        return None
    for place in places:
        sender, recipient = rest[:place], rest[place + 1 :]
        if (not sender or b"@" in sender) and b"@" in recipient:
            return address, sender, recipient
    sender, _, recipient = rest.partition(b"/")
    return (address, sender, recipient) if recipient else None


def _row(
    address: bytes, sender: bytes, recipient: bytes, triplet: Triplet, settings: Settings
) -> Row:
    if settings.normalize_sender:
        sender = normalize(sender)
    identity = network(address, settings.ipv4_prefix, settings.ipv6_prefix)
    return Row("triplets", key(identity, sender, recipient), triplet.pack())


def client(address: bytes, count: int, last: int, settings: Settings) -> Row:
    """Return the entry of a client, ``count`` of whose triplets have passed."""
    if not (count and last):
        return Row("unknown")
    identity = network(address, settings.ipv4_prefix, settings.ipv6_prefix)
    return Row("clients", client_key(identity), Triplet(last, count=count).pack())


def sqlgrey(path: str, settings: Settings) -> Iterator[Row]:
    """Yield the entries of sqlgrey's tables.

    A sender that passed counts for its network as a triplet that passed; a whole domain that
    passed makes the network trusted, which is more than in sqlgrey, but delays nobody anew.
    """
    trusted = max(settings.auto_whitelist, 1)
    try:
        with closing(sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True)) as tables:
            tables.text_factory = bytes  # senders are any bytes
            waiting = "SELECT src, sender_name, sender_domain, rcpt, first_seen FROM connect"
            for row in tables.execute(waiting):
                yield _waiting(row, settings)
            senders = "SELECT src, MAX(last_seen), COUNT(*) FROM from_awl GROUP BY src"
            for source, last, count in tables.execute(senders):
                yield _passed(source, last, count, settings)
            domains = "SELECT src, MAX(last_seen) FROM domain_awl GROUP BY src"
            for source, last in tables.execute(domains):
                yield _passed(source, last, trusted, settings)
    except sqlite3.Error as error:
        raise ForeignError(f"{path}: {error}") from error


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(os.path.abspath(path))


def _waiting(row: tuple[object, ...], settings: Settings) -> Row:
    source, user, domain, recipient, first = row
    texts = (source, user, domain, recipient)
    if not (all(isinstance(text, bytes) for text in texts) and isinstance(first, int) and first):
        return Row("unknown")
    source, user, domain, recipient = cast("tuple[bytes, ...]", texts)
    sender = b"" if user == _UNDEFINED else user if domain == _UNDEFINED else user + b"@" + domain
    return _row(_address(source), sender, recipient, Triplet(first), settings)


def _passed(source: object, last: object, count: int, settings: Settings) -> Row:
    if not (isinstance(source, bytes) and isinstance(last, int)):
        return Row("unknown")
    address = _address(source)
    if parse_address(address) is None:
        return Row("unknown")
    return client(address, count, last, settings)


def _address(source: bytes) -> bytes:
    """Return the address of sqlgrey's ``src``, which leaves out a network's last octet."""
    return source + b".0" * (3 - source.count(b".")) if b":" not in source else source
