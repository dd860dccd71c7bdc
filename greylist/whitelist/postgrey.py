"""postgrey's whitelist files, line by line (postgrey(8), "Whitelists").

Each line is turned into a line of ours: the name of an attribute, and a regular expression or,
for ``client_address``, a network. A ``#`` starts a comment wherever it stands.
"""

from __future__ import annotations

from greylist.whitelist.lines import rule
from greylist.whitelist.regex import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    Rule = tuple[bytes, bytes]

_EXTENSION = rb"(?:\+[^@]+)?"


def client_rule(line: bytes) -> Rule | None:
    """Return the attribute and pattern of a line of ``whitelist_clients``, or nothing.

    The line is ``/regex/``, an address or its first two or three octets, a network, or a domain,
    which stands for its subdomains too. Lines of ours that name a client's address or name are
    read as well, so that ``greylist spf`` can keep such a file.

    Raises:
        ValueError: it is none of these.
    """
    text = _strip(line)
    if not text:
        return None
    if text.startswith((b"client_address=", b"client_name=")):
        return rule(line)
    if _is_regex(text):
        return b"client_name", text[1:-1]
    if text.isdigit():  # a name there, and the first octet of millions of addresses here
        raise ValueError("neither an address nor a network")
    if b":" in text or not text.strip(b"0123456789./"):
        return b"client_address", text
    return b"client_name", rb"(?:^|\.)" + _quote(text, b"a domain") + b"$"


def recipient_rule(line: bytes) -> Rule | None:
    """Return the attribute and pattern of a line of ``whitelist_recipients``, or nothing.

    The line is ``/regex/``, ``user@``, ``user@domain``, each with its extensions, or a domain,
    which stands for its subdomains too.

    Raises:
        ValueError: it is none of these.
    """
    text = _strip(line)
    if not text:
        return None
    if _is_regex(text):
        return b"recipient", text[1:-1]
    user, at, domain = text.partition(b"@")
    if not at:
        return b"recipient", b"[@.]" + _quote(user, b"a user or a domain") + b"$"
    quoted = _quote(user, b"a user", slash=True) if user else b""
    if domain:
        return b"recipient", b"^" + quoted + _EXTENSION + b"@" + _quote(domain, b"a domain") + b"$"
    return b"recipient", b"^" + quoted + _EXTENSION + b"@"


def _strip(line: bytes) -> bytes:
    return line.partition(b"#")[0].strip()


def _is_regex(text: bytes) -> bool:
    return len(text) > 2 and text.startswith(b"/") and text.endswith(b"/")


def _quote(text: bytes, what: bytes, *, slash: bool = False) -> bytes:
    """Return a pattern for this text, which has no white space in it, nor a slash that begins it.

    Raises:
        ValueError: it has, or it has another slash where there can be none.
    """
    if len(text.split()) != 1 or text.startswith(b"/") or (b"/" in text and not slash):
        raise ValueError(f"not {what.decode()}")
    return escape(text)
