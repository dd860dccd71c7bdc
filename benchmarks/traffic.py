"""The requests that every contender gets, and the whitelists."""

from __future__ import annotations

from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_REQUEST = """\
request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address={client}
client_name={name}
client_port=48126
reverse_client_name={name}
server_address=192.0.2.25
server_port=25
helo_name={helo}
sender={sender}
recipient={recipient}
recipient_count=0
queue_id=
instance={instance}
size=12345
etrn_domain=
stress=
sasl_method=
sasl_username={user}
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=

"""
"""What Postfix 3.7 sends at RCPT, in its order (SMTPD_POLICY_README)."""


def mixed(number: int) -> int:
    """Return a number below 2**32 that no other has, far from its neighbour's."""
    return number * 2654435761 % 2**32


def triplet(number: int) -> tuple[str, str, str]:
    """Return the client, sender and recipient of this number, below 2**32.

    Neighbouring numbers land far apart in a sorted database, as real traffic does. Addresses
    are of 198.18.0.0/15, which is set aside for benchmarks (RFC 2544). A third of the senders
    look like those of mailing lists; no number stands alone in them, since some contenders
    leave that out.
    """
    value = mixed(number)
    if number % 3:
        sender = f"{_word(value)}@mail.example.com"
    else:
        sender = f"bounce-{value:08x}q@news.example.com"
    client = f"198.{18 + (value >> 31)}.{value >> 23 & 255}.{value >> 15 & 255}"
    return client, sender, f"person{value >> 20}@example.org"


def _word(value: int) -> str:
    """Return a number below 2**32 as seven letters, in the same order."""
    return "".join(chr(ord("a") + value // 26**place % 26) for place in range(6, -1, -1))


def request(number: int) -> bytes:
    """Return the request of the triplet of this number."""
    client, sender, recipient = triplet(number)
    name = "mail-" + client.replace(".", "-") + ".example.net"
    instance = f"4f2.{number:08x}.0"
    return policy_request(
        client=client,
        name=name,
        helo=name,
        sender=sender,
        recipient=recipient,
        instance=instance,
    )


def policy_request(**attributes: str) -> bytes:
    """Return a request: ``client``, ``name``, ``helo``, ``sender``, ``recipient``, ``instance``.

    ``user`` is who has logged in, if somebody has.
    """
    return _REQUEST.format_map({"user": "", **attributes}).encode()


def requests(number: int, first: int = 0) -> list[bytes]:
    """Return the requests of this many triplets."""
    return [request(each) for each in range(first, first + number)]


_messages = count()


def renewed(request: bytes) -> bytes:
    """Return a request about the same triplet in another message: it is no second question."""
    return request.replace(b"\ninstance=", b"\ninstance=%x." % next(_messages), 1)


def cycle(batch: list[bytes], start: int = 0) -> Iterator[bytes]:
    """Yield the requests over and over, beginning at this one, each in a message of its own."""
    while True:
        yield from map(renewed, batch[start:])
        start = 0


def whitelist(lines: int) -> bytes:
    """Return a ``nogreylist`` file of this many expressions, none of which knows the traffic."""
    forms = (
        r"^203\.0\.113\.{0}/",
        r"/[^/]*@news{0}\.example\.net/",
        r"/postmaster{0}@",
        r"^2001:db8:{0}:",
        r"@lists{0}\.example\.[a-z]+$",
    )
    return "".join(forms[i % len(forms)].format(i) + "\n" for i in range(lines)).encode()
