"""Which client this is: its network, or the organisation that its name belongs to.

Postfix passes on a ``client_name`` that it has verified forward and back, ``unknown`` where it
could not. The owner of a domain controls which addresses bear its names, so two clients of
one organisational domain are one pool of machines, wherever their addresses are.

The organisational domain is the one that somebody registered: a public suffix and one label, by
the public suffix list (as in DMARC, RFC 7489, section 3.2). Who lends his domain out is on that
list; providers who name rented machines below their own domain are not, and are listed here.

Customers of an access or hosting provider have its domain in common and nothing else. Their
names are made by a machine, of the address or of a word such as ``dynamic``; a name like that
stands for no organisation, unless one of its labels says that it is a mail server's.
"""

from __future__ import annotations

from itertools import pairwise

from greylist.addresses import is_private, network_of, parse_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.protocol import Request
    from greylist.settings import Settings

    Identities = tuple[bytes, bytes, tuple[bytes, ...]]

_MAIL = frozenset(b"mx mxout mta out outgoing outbound relay mout msa bounce".split())
"""Words for a mail server, beside all that contain ``mail`` or ``smtp``."""

_CUSTOMER = frozenset(
    b"abo abonent broadband cable catv client cliente clientes clients cloud cpe cust customer "
    b"customers dhcp dial dialin dialup dip dyn dynamic fiber fibra fibre ftth gpon gprs hfc home "
    b"host hosted hsd ip ipv kabel lte mobile modem pool pools ppp pppoe res residential rev "
    b"reverse server slip static subscriber umts unassigned unused user vps vserver wifi wimax "
    b"wireless".split()
)
"""Words that access and hosting providers put into the names of their customers, beside all that
contain ``dsl``."""

_CUSTOMER_NUMBER = 5
"""Digits in a row, before the provider's own domain, that count customers and not servers."""

_HOSTERS = frozenset(
    b"1blu.de bestsrv.de bluehost.com choopa.net colocrossing.com contaboserver.net "
    b"dedicatedpanel.com goodsrv.de happysrv.de hostingww.com hostwindsdns.com hotsrv.de "
    b"hstgr.cloud inmotionhosting.com kimsufi.com leaseweb.com linode.com "
    b"linodeusercontent.com luckysrv.de megasrv.de nicesrv.de online-server.cloud "
    b"onlinehome-server.com onlinehome-server.info ovh.ca ovh.net ovh.us poneytelecom.eu "
    b"powersrv.de psychz.net quadranet.com quicksrv.de reliablesite.net secureserver.net "
    b"server4you.de server4you.net serverprofi24.de startdedicated.com startdedicated.de "
    b"startdedicated.net stratoserver.net supersrv.de time4vps.cloud ultrasrv.de "
    b"unifiedlayer.com vultr.com vultrusercontent.com your-server.de yourvserver.net".split()
)
"""Hosters whose customers' machines are named directly below the hoster's own domain."""

_DIGITS = b"0123456789"
_NAME = b"abcdefghijklmnopqrstuvwxyz-._" + _DIGITS
_NUMBERS = bytes(code if code in _DIGITS else 32 for code in range(256))
_LETTERS = bytes(code if chr(code).isalpha() and code < 128 else 32 for code in range(256))


def identify(request: Request, settings: Settings) -> bytes:
    """Return the identity of a client: the first part of its keys, never empty."""
    return identities(request, settings)[0]


def identities(request: Request, settings: Settings) -> Identities:
    """Return who a client is: in its triplets, in a pool, and where it earns trust.

    A private address is that of a gateway, a proxy or a translator: its name tells nothing, and
    it earns none. If all mail comes from one, it would be trusted for everybody's.

    Returns:
        The first part of its triplets' keys, never empty; the organisational domain whose
        machines are one pool with it, or empty; its verified domain, if it has one, and its
        network.
    """
    how = settings.pool, settings.ipv4_prefix, settings.ipv6_prefix
    asked = request[b"client_address"], request.get(b"client_name"), how
    found = _found.get(asked)
    if found is None:
        found = _identities(request, *how)
        if len(_found) >= _REMEMBERED:
            _found.clear()
        _found[asked] = found
    return found


_REMEMBERED = 1000
"""Clients that one process remembers: finding out who one is takes as long as several reads."""

_found: dict[tuple[object, ...], Identities] = {}


def _identities(request: Request, pool: str, ipv4_prefix: int, ipv6_prefix: int) -> Identities:
    text = request[b"client_address"]
    address = parse_address(text)
    if address is None:
        return text, b"", ()
    own = network_of(*address, ipv4_prefix, ipv6_prefix)
    if is_private(*address):
        return own, b"", ()
    domain = organization(request) if pool != "off" else b""
    if not domain:
        return own, b"", (own,)
    if pool == "domain":
        return domain, b"", (domain, own)
    return own, domain, (domain, own)


def organization(request: Request) -> bytes:
    """Return the organisational domain of a client's verified name, or empty bytes.

    A name that was made for a customer of a provider has none, nor has a public suffix. Of a
    hoster's domain, each name directly below it is an organisation.
    """
    name = _name(request, b"client_name")
    labels = name.split(b".")
    if len(labels) < 2 or not all(labels) or name.translate(None, _NAME) or labels[-1].isdigit():
        return b""
    if is_machine_made(name, request[b"client_address"]):
        return b""
    # Late: a client without a name does not pay for it.
    from greylist.public_suffix import organizational_domain

    domain = organizational_domain(name)
    return b".".join(labels[-3:]) if domain in _HOSTERS and domain != name else domain


def speaks_for(domain: bytes, request: Request) -> bool:
    """Return whether a machine in a domain is one that earns it credit: it says its name in HELO.

    A rented machine bears the name of its hoster, and says that of its tenant: its neighbours are
    not trusted for it.
    """
    helo = _name(request, b"helo_name")
    return not helo or _is_within(helo, domain)


def suspicious(request: Request, settings: Settings) -> str:
    """Return the sign by which a client looks like no mail server, empty when there is none.

    Most bots run on machines without a name, or with one that a provider made; servers have a
    name of their own and say it. A domain in HELO other than that of the name tells nothing.
    """
    name = _name(request, b"client_name")
    if not name or name == b"unknown":
        return "no verified name"
    if is_machine_made(name, request[b"client_address"]):
        return "a name made for a customer"
    return _strange(name, request, settings) if b"helo_name" in request else ""


def _strange(name: bytes, request: Request, settings: Settings) -> str:
    """Return the sign in a HELO name, empty when there is none."""
    helo = _name(request, b"helo_name")
    if helo.startswith(b"[") or parse_address(helo):
        return "an address as HELO name"
    if b"." not in helo:
        return "a HELO name without a dot"
    own = _name(request, b"recipient").rpartition(b"@")[2]
    if helo == settings.hostname.lower().encode():
        return "our name as HELO name"
    if own and _is_within(helo, own) and not _is_within(name, own):
        return "the recipient's domain as HELO name"
    return ""


def _name(request: Request, attribute: bytes) -> bytes:
    """Return a name of a host in lower case, without the dot that may end it; maybe empty."""
    return request.get(attribute, b"").lower().rstrip(b".")


def _is_within(name: bytes, domain: bytes) -> bool:
    return name == domain or name.endswith(b"." + domain)


def is_machine_made(name: bytes, address: bytes) -> bool:
    """Return whether a name looks made for a provider's customer, and no mail server's.

    Args:
        name: in lower case.
        address: the client's address, in text.
    """
    host = name.rpartition(b".")[0]
    words = host.translate(_LETTERS).split()
    if b"mail" in host or b"smtp" in host or not _MAIL.isdisjoint(words):
        return False
    return (
        not _CUSTOMER.isdisjoint(words)
        or _numbers_customers(b".".join(name.split(b".")[:-2]))
        or _names_address(name, address)
    )


def _numbers_customers(host: bytes) -> bool:
    """Return whether the part of a name before its domain numbers customers or their lines."""
    if b"dsl" in host:
        return True
    return any(len(run) >= _CUSTOMER_NUMBER for run in host.translate(_NUMBERS).split())


def _names_address(name: bytes, address: bytes) -> bool:
    """Return whether a part of the address stands in the name: its end in hex, or two octets.

    Two, because providers leave the first ones out, and one may be a server's number.
    """
    parsed = parse_address(address)
    if parsed is None:
        return False
    number, bits = parsed
    packed = number.to_bytes(bits // 8)
    if packed[-4:].hex().encode() in name.translate(None, b"-."):
        return True
    if bits == 128:
        return b"%x-%x" % (number >> 16 & 0xFFFF, number & 0xFFFF) in name
    if b"%03d%03d" % (packed[2], packed[3]) in name:
        return True
    runs = [int(run) for run in name.translate(_NUMBERS).split() if len(run) <= 3]
    pairs = set(pairwise(runs))
    return any((a, b) in pairs or (b, a) in pairs for a, b in pairwise(packed))
