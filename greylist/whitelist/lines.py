"""A line of a list: what it is about, and what it matches.

One regular expression a line, matched without anchors and ignoring case against
``client_address/sender/recipient``. A ``#`` in column 1 starts a comment; blank lines are left
out.

A line may name the attribute that it is about: ``client_name=REGEX``, ``sender=REGEX`` and so
on for all of ATTRIBUTES, and ``client_address=NETWORK``. Names that Postfix could not verify
match no ``client_name=``.

A network (``192.0.2.0/24``) is one without the attribute's name too, an attribute's name may be in
capitals, and a comment may stand behind a line that names one: none of these could match anybody
otherwise.
"""

from __future__ import annotations

from greylist.addresses import parse_address
from greylist.whitelist.networks import doubt as network_doubt
from greylist.whitelist.networks import is_network

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Rule = tuple[bytes, bytes]
    Form = Callable[[bytes], Rule | None]

ATTRIBUTES = frozenset(
    b"protocol_state protocol_name helo_name queue_id sender recipient recipient_count "
    b"client_address client_name reverse_client_name instance sasl_method sasl_username "
    b"sasl_sender size ccert_subject ccert_issuer ccert_fingerprint encryption_protocol "
    b"encryption_cipher encryption_keysize etrn_domain stress ccert_pubkey_fingerprint "
    b"client_port policy_context server_address server_port compatibility_level "
    b"mail_version tls_sni".split()
)
"""The attributes that a line can name (Postfix, SMTPD_POLICY_README, up to 3.12)."""

_LETTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_"

_MEANT = {
    "address": "client_address", "client": "client_name", "ehlo": "helo_name", "from": "sender",
    "helo": "helo_name", "host": "client_name", "hostname": "client_name", "ip": "client_address",
    "mailfrom": "sender", "name": "client_name", "rcpt": "recipient", "to": "recipient",
}  # fmt: skip
"""What people call attributes of Postfix's."""

_SAMPLES = {
    b"": (b"192.0.2.1/a@example.com/b@example.org", b"fd77::8//3@zzz.uk"),
    b"client_name": (b"mail.example.com", b"123.w-q.uk"),
    b"reverse_client_name": (b"mail.example.com", b"123.w-q.uk"),
    b"helo_name": (b"mail.example.com", b"[123]"),
    b"recipient": (b"b@example.org", b"3@zzz.uk"),
}

_WITHOUT_BLANKS = (b"client_name", b"reverse_client_name", b"helo_name", b"sender", b"recipient")

_ANY_VALUES = (b"", b"a@example.com", b"3")


def samples(attribute: bytes) -> tuple[bytes, ...]:
    """Return values of an attribute that share no word: what matches all, matches everybody."""
    return _SAMPLES.get(attribute, _ANY_VALUES)


class Line(bytes):
    """A line as it stands in a file.

    Attributes:
        number: the line's number, from 1.
        attribute: the attribute it is about; empty for a line of the original's form.
        path: the file, empty when there is none.
    """

    number: int = 0
    attribute: bytes = b""
    path: str = ""


def rule(line: bytes) -> Rule | None:
    """Return the attribute and pattern of a line of ``nogreylist``, or None.

    Raises:
        ValueError: an attribute is named, and nothing about it that could match; or the line has
            the form of another file.
    """
    pattern = line.rstrip()
    if not pattern or pattern.startswith(b"#"):
        return None
    name, equals, value = pattern.partition(b"=")
    attribute = name.strip().lower()
    if not equals or attribute not in ATTRIBUTES:
        return _unnamed(pattern)
    value = value.replace(b"\t#", b" #").partition(b" #")[0].rstrip()
    if not value:
        raise ValueError("matches everybody")
    if name != name.strip() or value != value.strip():
        raise ValueError("white space beside the equals sign")
    if value.startswith(b"*"):
        raise ValueError(f"begins with *: write {attribute.decode()}={_expression(value)}")
    return attribute, value


def _unnamed(pattern: bytes) -> Rule:
    if b"/" in pattern and is_network(pattern):
        return b"client_address", pattern
    if pattern.startswith(b"/^") and pattern.endswith(b"/"):
        inner = pattern[1:-1].decode(errors="backslashreplace")
        raise ValueError(
            f"this is whitelist_clients' form: write client_name={inner} or recipient={inner}"
        )
    if pattern.startswith(b"*"):
        name = "recipient" if b"@" in pattern else "client_name"
        raise ValueError(f"begins with *: write {name}={_expression(pattern)}")
    return b"", pattern


def _expression(text: bytes) -> str:
    """Return a regular expression for what a shell's pattern that begins with ``*`` means."""
    rest = text.lstrip(b"*")
    rest = rest.replace(b"\\", b"").replace(b".", rb"\.").replace(b"*", b".*")
    return rest.decode(errors="backslashreplace") + "$" if rest else "^REGEX"


def doubt(content: bytes, attribute: bytes, pattern: bytes) -> str:
    """Return why a line that can be matched does not do what it seems to, or an empty text.

    Only what is certain and told at once: the filter says it too.

    Args:
        content: the line as it stands in the file.
        attribute: what its form says that it is about.
        pattern: and what that has to match.
    """
    if attribute == b"client_address":
        return network_doubt(pattern)
    found = _misspelt(attribute, pattern) if attribute else _unnamed_doubt(pattern)
    return found or ("" if content.isascii() else _encoding(content))


def _unnamed_doubt(pattern: bytes) -> str:
    """Return why an expression does not match ``client_address/sender/recipient``, if certain."""
    if b" #" in pattern or b"\t#" in pattern:
        return (
            "never matches: no address has a blank in it; a comment needs a line of its own, "
            "with # in column 1"
        )
    if _is_between_slashes(pattern) and pattern.translate(None, b"@*+{") == pattern:
        return (
            "between slashes stands a whole sender, which has an @; an expression stands here "
            "without them"
        )
    name, equals, _ = pattern.partition(b"=")
    if equals and name and not name.translate(None, _LETTERS):
        return _unknown(name)
    word = pattern[: len(pattern) - len(pattern.lstrip(_LETTERS))].lower()
    if word in ATTRIBUTES and pattern[len(word) :][:1] in (b":", b" ", b"\t"):
        return f"never matches: write {word.decode()}="
    return ""


def _misspelt(attribute: bytes, pattern: bytes) -> str:
    """Return why an expression matches no value of its attribute, if its form tells."""
    bare = pattern.lstrip(b"^")
    if attribute == b"client_name":
        found = _no_name(pattern)
    elif attribute in (b"sender", b"recipient") and bare.startswith(b"<"):
        found = "never matches: addresses come without < and >; the empty sender is sender=^$"
    elif attribute == b"recipient" and bare.startswith(b"[@.]"):
        found = _dotless(bare[4:].rstrip(b"$"))
    else:
        found = ""
    if found:
        return found
    if attribute in _WITHOUT_BLANKS and (_separates(b" ", pattern) or _separates(b",", pattern)):
        return "never matches: no name or address has a blank or comma; write a line for each"
    if _is_between_slashes(pattern):
        return "never matches: the expression stands here without slashes"
    if bare.startswith((b"=", b"~")):
        return "never matches: the expression comes right behind one equals sign"
    return ""


def _separates(character: bytes, pattern: bytes) -> bool:
    """Return whether a character stands for itself in an expression, as far as can be told."""
    return character in pattern and not any(sign in pattern for sign in (b"(?x", b"[", b"{"))


def _no_name(pattern: bytes) -> str:
    """Return why an expression matches no name of a client."""
    if _bare(pattern) == b"unknown":
        return (
            "never matches: unknown is no verified name; write reverse_client_name=, or "
            "^unknown/ for clients without an address"
        )
    if not pattern.isascii():
        return "never matches: names of hosts are ASCII; write the name's form with xn--"
    return _named_address(_bare(pattern.replace(b"\\", b"")))


def _named_address(text: bytes) -> str:
    if text.count(b".") < 3 or not parse_address(text):
        return ""
    return f"no name is an address: write client_address={text.decode()}"


def _dotless(domain: bytes) -> str:
    if b"." in domain or domain == b"localhost":
        return ""
    user = domain.decode(errors="backslashreplace")
    return f"a domain without a dot; a user is written {user}@"


def _is_between_slashes(pattern: bytes) -> bool:
    return len(pattern) > 2 and pattern[:1] == pattern[-1:] == b"/"


def _bare(pattern: bytes) -> bytes:
    return pattern.lower().replace(rb"(?:^|\.)", b"").strip(b"^$")


def _unknown(name: bytes) -> str:
    """Return a complaint about a name that is no attribute's; empty if it need not be one."""
    from difflib import get_close_matches  # for a line that hardly any list has

    word = name.decode().lower()
    if word in _MEANT:
        return f"{word} is no attribute of Postfix's; {_MEANT[word]} is one"
    near = get_close_matches(word, [known.decode() for known in ATTRIBUTES], cutoff=0.8)
    if near:
        return f"never matches: {word} is no attribute of Postfix; {near[0]} is one"
    if "_" in word:
        return f"{word} is no attribute of Postfix's (up to 3.12), so this is an expression"
    return ""


def _encoding(content: bytes) -> str:
    try:
        text = content.strip().decode()
    except UnicodeDecodeError:
        return "is not UTF-8, as addresses are: save the file as UTF-8"
    unseen = next((each for each in text if not each.isprintable()), "")
    return f"has a character that is not seen, U+{ord(unseen):04X}: delete it" if unseen else ""
