"""postgrey's whitelist files, line by line (postgrey(8), "Whitelists").

Each line is turned into a line of ours: the name of an attribute, and a regular expression or,
for ``client_address``, networks. A ``#`` starts a comment wherever it stands. Forms of others are
read as they are meant there: ``*.example.com`` (sqlgrey), ``.example.com`` (access(5)),
``host-*.example.com``, ``@example.com``, ``<b@example.org>``, several with commas.
"""

from __future__ import annotations

from greylist.addresses import parse_address
from greylist.whitelist.lines import ATTRIBUTES, rule
from greylist.whitelist.regex import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.whitelist.lines import Rule

_EXTENSION = rb"(?:\+[^@]+)?"

_HOST_NAME = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*"

_NETWORK = b"0123456789./*-"

_NO_USER = b'"(),:;<>@[\\]'

_NO_DOMAIN = b" \t\"'()<>;:\\[]/"


def is_optional(path: str) -> bool:
    """Return whether a file need not be there: one for local additions, as in postgrey."""
    return path.endswith(".local")


def client_rule(line: bytes) -> Rule | None:
    """Return the attribute and pattern of a line of ``whitelist_clients``, or None.

    The line is ``/regex/``, an address or its first two or three octets, a network or a range, or
    a domain, which stands for its subdomains too. Lines of ours that name a client's address or
    name are read as well, so that ``greylist spf`` can keep such a file.

    Raises:
        ValueError: it is none of these.
    """
    text = _strip(line)
    if not text:
        return None
    attribute = _attribute(text)
    if attribute in (b"client_address", b"client_name"):
        return rule(line)
    if attribute:
        raise ValueError("this is nogreylist's form: whitelist is for such files")
    if _is_regex(text):
        return b"client_name", text[1:-1]
    if text.isdigit():  # a name there, and the first octet of millions of addresses here
        raise ValueError(f"one octet alone: write {text.decode()}.0.0.0/8 if it is a network")
    if b"@" in text[1:]:
        raise ValueError("a mail address: whitelist_recipients is for these")
    items = _items(text)
    addresses = [item for item in items if _is_address(item)]
    if len(addresses) == len(items):
        return b"client_address", b",".join(items)
    if addresses:
        raise ValueError("names and addresses in one line: write a line for each")
    return b"client_name", b"|".join(map(_host, items))


def recipient_rule(line: bytes) -> Rule | None:
    """Return the attribute and pattern of a line of ``whitelist_recipients``, or None.

    The line is ``/regex/``, ``user@``, ``user@domain``, each with its extensions, or a domain,
    which stands for its subdomains too; so do ``*@domain`` and ``@domain``, without these.

    Raises:
        ValueError: it is none of these.
    """
    text = _strip(line)
    if not text:
        return None
    if _is_regex(text):
        return b"recipient", text[1:-1]
    if _attribute(text):
        raise ValueError("this is nogreylist's form: whitelist is for such files")
    return b"recipient", b"|".join(map(_recipient, _items(text)))


def _attribute(text: bytes) -> bytes:
    """Return the attribute of Postfix's that a line of ``nogreylist`` names, or empty bytes."""
    name, equals, _ = text.partition(b"=")
    return name.lower() if equals and name.lower() in ATTRIBUTES else b""


def _items(text: bytes) -> list[bytes]:
    items = [item.strip() for item in text.split(b",")]
    return [item for item in items if item] or [text]


def _is_address(text: bytes) -> bool:
    return b":" in text or (not text.strip(_NETWORK) and text[:1].isdigit())


def _host(text: bytes) -> bytes:
    """Return a pattern for a host's name, or for all names in a domain.

    Raises:
        ValueError: it is neither.
    """
    name = text.removeprefix(b"@").removeprefix(b".")
    if not name.isascii():
        raise ValueError("not a name of a host, which is ASCII: write its form with xn--")
    if name.translate(None, _HOST_NAME):
        raise ValueError("not a domain: letters, digits, dots and hyphens")
    name = name.removesuffix(b".")
    if name and (name in (b"all", b"any") or not all(map(_is_label, name.split(b".")))):
        raise ValueError("matches nobody: no host has such a name")
    return _domain(text.removeprefix(b"@"), rb"(?:^|\.)", b"^")


def _is_label(text: bytes) -> bool:
    return text != b"" and not text.startswith(b"-") and not text.endswith(b"-")


def _domain(text: bytes, within: bytes, start: bytes) -> bytes:
    """Return a pattern for a domain and those below it, or for what has ``*`` elsewhere.

    Args:
        text: ``example.com``, ``.example.com``, ``*.example.com``, ``host-*.example.com``.
        within: the pattern of what is before a domain.
        start: the pattern of what is before a name with ``*``.
    """
    name = text.removeprefix(b"*.").lstrip(b".").removesuffix(b".")
    if not name.strip(b"*.@"):
        raise ValueError("matches everybody")
    return (start if b"*" in name else within) + _glob(name) + b"$"


def _glob(text: bytes) -> bytes:
    return b".*".join(map(escape, text.split(b"*")))


def _recipient(text: bytes) -> bytes:
    if text.startswith(b"<") and text.endswith(b">"):
        text = text[1:-1]
    if not text.strip(b"*.@"):
        raise ValueError("matches everybody")
    if parse_address(text) or not text.strip(b"0123456789./"):
        raise ValueError("an address of a machine: whitelist_clients is for these")
    user, at, domain = text.rpartition(b"@")
    if len(text.split()) != 1 or text.startswith(b"/"):
        raise ValueError("not a user or a domain")
    if len(user) > 2 and user[:1] == user[-1:] == b'"':
        user = user[1:-1]  # as Postfix asks about it
    elif user.translate(None, _NO_USER) != user:
        raise ValueError("not a user: only in quotes may it have such a character")
    if domain.translate(None, _NO_DOMAIN) != domain:
        raise ValueError("not a domain")
    if not user and domain.startswith(b"."):
        at = b""
    if user and domain.startswith(b"."):
        raise ValueError("a user in all domains below one is written user@*.example.org")
    return b"|".join([_address(user, at, each) for each in _names(domain.removesuffix(b"."))])


def _address(user: bytes, at: bytes, domain: bytes) -> bytes:
    if not at:
        return _domain(domain, b"[@.]", b"@")
    end = b"@" + _glob(domain) + b"$" if domain else b"@"
    return b"^" + _glob(user) + _EXTENSION + end if user.strip(b"*") else end


def _names(domain: bytes) -> list[bytes]:
    """Return a domain in letters and in ASCII: a client may write it in either way (RFC 6531)."""
    if domain.isascii() and b"xn--" not in domain.lower():
        return [domain]
    try:
        domain = domain.lower()  # the codec takes no capitals in what it decodes
        letters = domain.decode("idna") if domain.isascii() else domain.decode().lower()
        return list(dict.fromkeys((domain, letters.encode(), letters.encode("idna"))))
    except UnicodeError:
        return [domain]


def _strip(line: bytes) -> bytes:
    return line.partition(b"#")[0].strip()


def _is_regex(text: bytes) -> bool:
    return len(text) > 2 and text.startswith(b"/") and text.endswith(b"/")
