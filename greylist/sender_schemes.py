"""What a machine changes in a sender from one mail to the next, and the schemes that tell.

A tag of the day or the number of a mailing list's message would make each mail a stranger's.
They are left out only where a machine must have made the address: in a scheme known from its
description or from real mail, or after a word such as ``bounces``. What tells two people, two
lists or two customers of a bulk sender apart stays: a wrong merge costs protection, a scheme
that is not known costs one delay. ``tests/senders.toml`` has each scheme with its source.

- Tags before the address: BATV ``prvs=KDDDSSSSSS=user`` (draft-levine-smtp-batv-01), Barracuda's
  ``btv1==TAG==user``, SparkPost's ``msprvs1=TAG=bounces-CUSTOMER``.
- Forwarders: SRS ``SRS0=HHH=TT=host=user`` and ``SRS1=HHH=forwarder==HHH=TT=host=user`` (M. Wong;
  ``+`` or ``-`` may stand for the first ``=``), Exchange's ``forwarder+SRS=HHH=TT=host=user``.
- VERP: ``list-return-MESSAGE-user=host`` (D. J. Bernstein), where ``user=host`` is the recipient.
- ``user+extension`` (RFC 5233), unless a machine's word stands before the plus.
"""

from __future__ import annotations

_HEX = b"0123456789abcdef"
_SPACED = bytes(code if chr(code).isalnum() and code < 128 else 32 for code in range(256))
"""Turns into spaces what parts one word from the next."""

_UUID = [8, 4, 4, 4, 12]
"""How many hexadecimal digits are between its hyphens (RFC 9562, section 4)."""

_SRS_SEPARATORS = (b"=", b"+", b"-")
_SEPARATORS = (b"-", b"_", b"+", b"=", b".")
_WORDS = (b"bounces", b"bounce", b"returns", b"return", b"owner", b"verp")
"""Words behind which a machine puts what it needs when the mail comes back."""

_PEOPLES = (b"returns", b"return", b"owner")
"""Those that people use as well."""


def without_schemes(sender: bytes) -> bytes:
    """Return a sender's address, in lower case, without what a machine changes mail by mail."""
    local, at, domain = sender.rpartition(b"@")
    if domain.endswith(_SERVICE_DOMAINS):
        for suffix, service in _SERVICES:
            if domain.endswith(suffix) and (found := service(local, domain)):
                return b"%s@%s" % found
    if local.isalnum():
        return sender
    return _user(local, domain) + at + domain


def _user(local: bytes, domain: bytes) -> bytes:
    """Return a local part, in lower case, without what a machine changes."""
    if local.startswith(_PREFIXES):
        for prefix, scheme in _SCHEMES:
            if local.startswith(prefix) and (found := scheme(local, domain)):
                return found
    if b"+srs=" in local:
        return _exchange(local)
    if b"bounce" in local or b"return" in local or b"owner" in local or b"verp" in local:
        if found := _verp(local):
            return found
    elif b"-" in local and (found := _amazon_ses(local) or _marketo(local)):
        return found
    elif b"bnc3." in domain and _is_mailjet(local):
        return b"#.#"
    # A leading plus is no extension's.
    return local[:1] + local[1:].partition(b"+")[0]


# Tags


def _batv(local: bytes, domain: bytes) -> bytes:
    """Return the user behind a tag; some senders put the tag last, or a slash between."""
    for separator in (b"=", b"/"):
        tag, _, user = local[5:].partition(separator)
        if user and _is_batv(tag):
            return _user(user, domain)
        user, _, tag = local[5:].rpartition(separator)
        if user and _is_batv(tag):
            return _user(user, domain)
    return local


def _is_batv(text: bytes) -> bool:
    """Return whether it is a key's number (which some leave out), a day and a signature."""
    return len(text) in (9, 10) and text[:3].isdigit() and _is_hex(text)


def _barracuda(local: bytes, domain: bytes) -> bytes:
    tag, _, user = local[6:].partition(b"==")
    return _user(user, domain) if _is_hex(tag) and user else local


def _sparkpost(local: bytes, domain: bytes) -> bytes:
    """Leave out five digits of a day and a key of eight or so; the customer's number follows."""
    tag, _, customer = local[8:].partition(b"=")
    return b"msprvs1=#=" + customer if 10 <= len(tag) <= 16 and tag[:5].isdigit() else local


def _srs0(local: bytes, domain: bytes) -> bytes:
    fields = local[5:].split(b"=", 3)
    if len(fields) < 4 or local[4:5] not in _SRS_SEPARATORS:
        return local
    return b"srs0=%s=%s" % (fields[2], _user(fields[3], fields[2]))


def _srs1(local: bytes, domain: bytes) -> bytes:
    forwarder, _, rest = local[5:].partition(b"=")[2].partition(b"=")
    fields = rest[1:].split(b"=", 3)
    separators = local[4:5], rest[:1]
    if len(fields) < 4 or not all(each in _SRS_SEPARATORS for each in separators):
        return local
    return b"srs1=%s=%s=%s" % (forwarder, fields[2], _user(fields[3], fields[2]))


def _exchange(local: bytes) -> bytes:
    """Leave out hash and timestamp; a rewritten null sender has nothing behind them."""
    forwarder, _, rest = local.partition(b"+srs=")
    fields = rest.split(b"=", 3)
    if len(fields) == 2 and len(fields[1]) == 2 and b"." not in fields[0]:
        return forwarder + b"+srs="
    if len(fields) < 4:
        return local
    return b"%s+srs=%s=%s" % (forwarder, fields[2], _user(fields[3], fields[2]))


# Words of machines


def _verp(local: bytes) -> bytes:
    """Return a local part with ``#`` for the part behind a machine's word, or empty bytes."""
    for word in _WORDS:
        before, found, after = local.partition(word)
        if not found or before[-1:].isalnum() or after[:1] not in _SEPARATORS:
            continue
        if word in _PEOPLES and _is_peoples(before, after):
            continue
        if b"+" in before[1:]:
            return b""  # an extension: list+bounces-MESSAGE-user=host, as mlmmj writes it
        if after.startswith(b"+"):
            # Behind a list's name it is the recipient, behind the word alone maybe a customer.
            return before + word if before else word + b"+" + _tagged(word, after[1:])
        if word == b"owner" and not before:
            return b""  # owner-LIST
        return before + word + after[:1] + _numbered(after[1:], named=before != b"")
    return b""


def _is_peoples(before: bytes, after: bytes) -> bool:
    """Return whether people may stand there: mike.owner.1975, tax-return-2024, returns-2."""
    number = after[1:]
    return after[:1] == b"." or (number.isdigit() and (before != b"" or len(number) < 4))


def _numbered(text: bytes, *, named: bool) -> bytes:
    """Return what follows ``bounce-`` with ``#`` for its leading identifiers, and a recipient.

    Args:
        text: what follows.
        named: whether the name of a list stands before the word. Otherwise the name may stand
            beside the recipient, so both stay.
    """
    marked, rest = b"", text
    while rest:
        if _is_uuid(rest[:36]) and not rest[36:37].isalnum():
            length, mark = 36, b"#"
        elif rest.startswith(b"#"):
            length, mark = 1, b"#"  # a normal form is its own
        else:
            word = rest.translate(_SPACED).partition(b" ")[0]
            length, mark = len(word), _mark(word)
        if not mark or rest[length : length + 1] == b"=":
            break
        marked += mark + rest[length : length + 1]
        rest = rest[length + 1 :]
    if named and b"=" in rest:
        return marked + b"#"
    if not marked and rest.count(b"=") > 1:
        return rest.partition(b"=")[0] + b"=#"  # bounce-LIST=user=host (SmartList)
    return marked + rest


def _mark(word: bytes) -> bytes:
    """Return ``#`` for an identifier, the word itself for a list's; empty for others."""
    if word.isdigit() or (len(word) >= 8 and _is_hex(word)):
        return b"#"
    # A letter and a number: GreenArrow's list.
    return word if word[:1].isalpha() and word[1:].isdigit() else b""


def _tagged(word: bytes, text: bytes) -> bytes:
    """Return what follows ``bounces+`` without what changes; a first number is a customer's."""
    if b"==" in text:
        return _sympa(text)
    fields = text.split(b"+")
    if len(fields) == 4 and all(map(bytes.isdigit, fields)):
        return b"%s+#+%s+%s" % (fields[0], fields[2], fields[3])  # groups.io
    first, _, rest = text.partition(b"-")
    code, dash, recipient = rest.partition(b"-")
    if first.isdigit() and len(code) == 4 and _is_hex(code) and (b"=" in recipient or not dash):
        return first + b"-#"  # SendGrid
    codes = first.split(b".")
    if word == b"bounce" and rest and len(codes) == 2 and all(map(_is_hex, codes)):
        return b"#.%s-#" % codes[1]  # Mailgun
    if _is_uuid(text) or (len(text) >= 8 and _is_hex(text) and not text.isdigit()):
        return b"#"
    return text


def _sympa(text: bytes) -> bytes:
    """Return the list of ``user==a==host==LIST``, which ``==w`` or ``==r`` may follow."""
    fields = text.split(b"==")
    kind = fields.pop() if fields[-1] in (b"w", b"r") else b""
    return b"#==" + b"==".join([fields[-1], kind] if kind else fields[-1:]) if fields[2:] else text


# Shapes


def _amazon_ses(local: bytes) -> bytes:
    """Return the form of sixteen hexadecimal digits, a UUID and six digits."""
    fits = len(local) == 60 and local[16:17] + local[53:54] == b"--" and _is_uuid(local[17:53])
    return b"#-#-#" if fits and _is_hex(local[:16]) and local[54:].isdigit() else b""


def _marketo(local: bytes) -> bytes:
    """Return a customer's Munchkin ID, three digits, letters and digits, without what follows."""
    numbers = local[:3] + local[8:11] + local[12:].translate(None, b".-")
    fits = local[3:4] + local[7:8] + local[11:12] == b"--." and local[4:7].isalpha()
    return local[:12] + b"#" if fits and local[12:] and numbers.isdigit() else b""


def _is_mailjet(local: bytes) -> bool:
    """Return whether it is two codes; the customer has a domain, or a label of one."""
    code, _, rest = local.partition(b".")
    return len(code) == 8 and _is_hex(code) and rest != b""


# Prefixes of services


def _mailchimp(local: bytes, domain: bytes) -> bytes:
    """Leave out the campaign and the recipient of ``bounce-mc.usN_CUSTOMER.CAMPAIGN-user=host``."""
    customer, dot, rest = local[10:].partition(b".")
    return b"bounce-mc.%s.#" % customer if dot and rest[:1].isdigit() else local


def _mandrill(local: bytes, domain: bytes) -> bytes:
    """Leave out the time and the hash of ``bounce-md_CUSTOMER.TIME.v1-HASH``."""
    customer, _, rest = local[10:].partition(b".")
    time, _, hash = rest.partition(b".")
    return b"bounce-md_%s.#" % customer if _is_hex(time) and hash[:1] == b"v" else local


def _exacttarget(local: bytes, domain: bytes) -> bytes:
    """Leave out all but the business unit, the fourth of ``bounce-N_HTML-N-N-UNIT-N``."""
    first, _, rest = local[7:].partition(b"_")
    fields = rest.split(b"-")
    if len(fields) != 5 or not all(map(bytes.isdigit, (first, *fields[1:]))):
        return b""
    return b"bounce-#_%s-#-#-%s-#" % (fields[0], fields[3])


def _activecampaign(local: bytes, domain: bytes) -> bytes:
    """Leave out the campaign of ``bounce-N-CAMPAIGN-N-user=host``; the others may be a customer."""
    fields = local[7:].split(b"-", 3)
    fits = len(fields) == 4 and b"=" in fields[3] and fields[0].isdigit() and fields[2].isdigit()
    if not fits or not (fields[1].isdigit() or fields[1] == b"#"):
        return b""
    return b"bounce-%s-#-%s-%s" % (fields[0], fields[2], fields[3])


def _yahoo_groups(local: bytes, domain: bytes) -> bytes:
    """Leave out message, time and recipient of ``sentto-LIST-MESSAGE-TIME-user=host``."""
    fields = local.split(b"-", 4)
    fits = len(fields) == 5 and all(map(bytes.isdigit, fields[1:4]))
    return b"sentto-%s-#" % fields[1] if fits else local


def _listserv(local: bytes, domain: bytes) -> bytes:
    """Leave out the recipient of ``owner-LIST*user**host*tld``."""
    name, star, recipient = local.partition(b"*")
    return name + b"*#" if star and b"**" in recipient else b""


def _silverpop(local: bytes, domain: bytes) -> bytes:
    """Leave out the numbers, in letters, of ``v-MAILING_RECIPIENT_JOB_JOB_a``."""
    fields = local[2:].split(b"_")
    fits = len(fields) == 5 and not b"".join(fields[:4]).strip(b"abcdefghijklmnop")
    return b"v-#" if fits and domain.startswith(b"bounce.") else b""


_SCHEMES = (
    (b"prvs=", _batv),
    (b"btv1==", _barracuda),
    (b"msprvs1=", _sparkpost),
    (b"srs0", _srs0),
    (b"srs1", _srs1),
    (b"bounce-mc.", _mailchimp),
    (b"bounce-md_", _mandrill),
    (b"bounce-", _exacttarget),
    (b"bounce-", _activecampaign),
    (b"sentto-", _yahoo_groups),
    (b"owner-", _listserv),
    (b"v-", _silverpop),
)
_PREFIXES = tuple(prefix for prefix, _ in _SCHEMES)


# Domains of services


def _salesforce(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    """Keep the sender of ``user=host__ID`` and the organisation's label of the domain."""
    sender, mark, code = local.rpartition(b"__")
    labels = domain.split(b".")[-5:]
    fits = mark and code and b"-" in labels[0]
    return (sender + b"__#", b".".join(labels)) if fits else None


def _mailchimp_host(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    """Leave out the host that sends this mail."""
    return _user(local, domain), b".".join(domain.split(b".")[-2:])


def _constant_contact(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    """Keep the customer, the middle of ``CODE==_CUSTOMER_CODE==`` or ``ESCN_CUSTOMER_N``."""
    fields = local.split(b"_")
    fits = len(fields) == 3 and all(fields) and fields[1].isdigit()
    return (b"#_%s_#" % fields[1], domain) if fits else None


def _linkedin(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    return (local[:2] + b"#", domain) if local[1:2] == b"-" and len(local) > 20 else None


def _twitter(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    """Leave out ten hexadecimal digits and the recipient."""
    fits = _is_hex(local[1:11]) and b"=" in local[11:]
    return (local[:1] + b"#", domain) if fits else None


def _amazon(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    """Leave out the time and the identifier before the first hyphen."""
    mail, dash, rest = local.partition(b"-")
    return (b"#" + dash + rest, domain) if len(mail) > 40 and mail[:14].isdigit() else None


def _google(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    """Leave out the local part where the domain names the user or the application."""
    named = domain.startswith(b"flex--") or b".apphosting." in domain
    return (b"3#", domain) if named and local[:1] == b"3" and len(local) > 12 else None


def _hubspot(local: bytes, domain: bytes) -> tuple[bytes, bytes] | None:
    code, dash, rest = local.partition(b"-")
    fits = code.startswith(b"1ax") and len(code) > 30 and code.isalnum()
    return (b"1ax#" + dash + rest, domain) if fits else None


_SERVICES = (
    (b".bnc.salesforce.com", _salesforce),
    (b".mcsv.net", _mailchimp_host),
    (b".mcdlv.net", _mailchimp_host),
    (b".rsgsv.net", _mailchimp_host),
    (b"in.constantcontact.com", _constant_contact),
    (b"bounce.linkedin.com", _linkedin),
    (b"bounce.twitter.com", _twitter),
    (b"bounces.amazon.com", _amazon),
    (b".bounces.google.com", _google),
    (b".hubspotemail.net", _hubspot),
)
_SERVICE_DOMAINS = tuple(suffix for suffix, _ in _SERVICES)


# Identifiers


def _is_hex(text: bytes) -> bool:
    return text != b"" and not text.strip(_HEX)


def _is_uuid(text: bytes) -> bool:
    lengths = [len(part) for part in text.split(b"-")]
    return lengths == _UUID and not text.strip(_HEX + b"-")
