"""The parts of a database's URL.

url       :== scheme "://" [user [":" password] "@"] place ["?" query]
scheme    :== ("valkey" | "redis") ["s"] ["+unix" | "+sentinel" | "+cluster"]
place     :== host [":" port] ["/" db]              of one server; with an "s", over TLS
            | "/" path                              of a Unix socket; query is "db=" db
            | host [":" port] *("," ...) "/" name ["/" db]      of the Sentinels of a group
            | host [":" port] *("," ...)                        of some servers of a cluster

A user, a password and a path may have any byte as ``%HH``; an IPv6 address stands in brackets.
"""

from __future__ import annotations

PORT = 6379
SENTINEL_PORT = 26379

_FORM = "valkey://host/0, valkey+unix:///path, valkey+sentinel://host,host/name and the like"


class Address:
    """The address of a server, and the credentials for it.

    Attributes:
        kind: ``tcp``, ``unix``, ``sentinel`` or ``cluster``.
        tls: whether to speak TLS.
        hosts: names or addresses, with their ports; of a Unix socket, none.
        path: of a Unix socket.
        name: of the group of servers that the Sentinels watch.
        user: empty for the server's default one.
        password: empty when there is none in the URL.
        db: the number of the server's database.
    """

    __slots__ = ("db", "hosts", "kind", "name", "password", "path", "tls", "user")

    def __init__(self, kind: str, tls: bool) -> None:
        self.kind = kind
        self.tls = tls
        self.hosts: list[tuple[str, int]] = []
        self.path = self.name = self.user = self.password = ""
        self.db = 0

    def at(self, host: str, port: int) -> Address:
        """Return the address of one server, with everything else as it is."""
        other = Address("tcp", self.tls)
        other.hosts = [(host, port)]
        other.user, other.password, other.db = self.user, self.password, self.db
        return other

    def __str__(self) -> str:
        """Return it for people: without the password."""
        scheme = f"valkey{'s' if self.tls else ''}"
        if self.kind == "unix":
            return f"{scheme}+unix://{_encoded(self.path)}" + (f"?db={self.db}" if self.db else "")
        kind = "" if self.kind == "tcp" else f"+{self.kind}"
        hosts = ",".join(f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in self.hosts)
        name = f"/{self.name}" if self.name else ""
        return f"{scheme}{kind}://{hosts}{name}" + (f"/{self.db}" if self.db else "")


def parse(url: str) -> Address:
    """Return what a URL says.

    Raises:
        ValueError: what is wrong with it; the text has no password in it.
    """
    scheme, _, rest = url.partition("://")
    base, _, kind = scheme.lower().partition("+")
    tls = base in {"valkeys", "rediss"}
    if base not in {"valkey", "valkeys", "redis", "rediss"}:
        raise ValueError(f"no URL such as {_FORM}")
    if kind not in {"", "unix", "sentinel", "cluster"} or (kind == "unix" and tls):
        raise ValueError(f"there is no {scheme}://; use {_FORM}")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("a URL is printable ASCII without blanks: write other bytes as %HH")
    address = Address(kind or "tcp", tls)
    rest, question, query = rest.partition("?")
    if question and kind != "unix":
        raise ValueError("only valkey+unix:// has anything after a question mark: ?db=0")
    credentials, at, place = rest.rpartition("@")
    if at:
        user, _, password = credentials.partition(":")
        address.user, address.password = _decoded(user), _decoded(password)
    if kind == "unix":
        _unix(address, place, query)
    else:
        _network(address, place)
    return address


def _unix(address: Address, place: str, query: str) -> None:
    address.path = _decoded(place)
    if not address.path.startswith("/") or len(address.path.encode()) > 107 or "\0" in address.path:
        raise ValueError("the socket is no absolute path of at most 107 bytes")
    name, _, number = query.partition("=")
    if query:
        if name != "db":
            raise ValueError(f"unknown {name!r} after the question mark: only db=0")
        address.db = _db(number)


def _network(address: Address, place: str) -> None:
    hosts, _, rest = place.partition("/")
    sentinel = address.kind == "sentinel"
    port = SENTINEL_PORT if sentinel else PORT
    address.hosts = [_host(host, port) for host in hosts.split(",")]
    if address.kind == "tcp" and len(address.hosts) > 1:
        raise ValueError("several hosts: say valkey+sentinel:// or valkey+cluster://")
    if sentinel:
        address.name, _, rest = rest.partition("/")
        if not address.name:
            raise ValueError("the name of the group is missing: valkey+sentinel://host,host/name")
    if rest:
        address.db = _db(rest)
    if address.kind == "cluster" and address.db:
        raise ValueError("a cluster has no other database than 0")


def _host(text: str, default: int) -> tuple[str, int]:
    """Return a host and its port."""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        _, colon, port = rest.partition(":")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text!r} is not of the form [IPv6 address]:port")
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise ValueError(f"{text!r}: an IPv6 address stands in brackets")
    if not host:
        raise ValueError("the host is missing")
    if colon and not (port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"port {port!r} is out of range: use 1 to 65535")
    return host, int(port) if colon else default


def _db(text: str) -> int:
    if not (text.isdigit() and len(text) <= 5):
        raise ValueError(f"{text!r} is not the number of a database")
    return int(text)


def _decoded(text: str) -> str:
    """Return a text with each %HH as the byte that it stands for."""
    first, *rest = text.split("%")
    found = first.encode()
    for part in rest:
        try:
            found += bytes([int(part[:2], 16)]) + part[2:].encode()
        except ValueError:
            raise ValueError("a % without two hexadecimal digits after it: write %25") from None
    return found.decode("utf-8", "surrogateescape")


def _encoded(text: str) -> str:
    """Return a path with what a URL has no room for as %HH."""
    raw = text.encode("utf-8", "surrogateescape")
    return "".join(chr(c) if 0x20 < c < 0x7F and c not in b"%?@" else f"%{c:02x}" for c in raw)
