"""A line of a list: what it is about, and what it matches.

One regular expression a line, matched without anchors and ignoring case against
``client_address/sender/recipient``. A ``#`` in column 1 starts a comment; blank lines are
nothing.

A line may name the attribute that it is about: ``client_name=REGEX``, ``sender=REGEX`` and so
on for all of ATTRIBUTES, and ``client_address=NETWORK``. Names that Postfix could not verify
match no ``client_name=``.
"""

from __future__ import annotations

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
    b"mail_version".split()
)
"""What a line can name (Postfix, SMTPD_POLICY_README, up to 3.8)."""


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
    """Return the attribute and pattern of a line of ``nogreylist``, or nothing.

    Raises:
        ValueError: an attribute is named, and nothing about it that could match.
    """
    pattern = line.rstrip()
    if not pattern or pattern.startswith(b"#"):
        return None
    name, equals, value = pattern.partition(b"=")
    if not equals or name.strip() not in ATTRIBUTES:
        return b"", pattern
    if not value:
        raise ValueError("matches everybody")
    if name != name.strip() or value != value.strip():
        raise ValueError("white space beside the equals sign")
    return name, value
