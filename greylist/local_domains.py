"""The domains whose mail Postfix delivers to the users of this host, whichever of them is written.

In all domains of ``mydestination`` a user has one mailbox (postconf(5)): where ``localhost`` is one
of them, ``b@localhost`` is ``b@example.org``. Only ``greylist_recipients`` needs to know, and only
for a recipient that is not on it: then postconf(1) is asked, once a process, unless the settings
say it. A table of ``mydestination`` is not looked into; ``greylist check`` tells.
"""

from __future__ import annotations

import os

from greylist.child import run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from greylist.settings import Settings

    Found = tuple[tuple[bytes, ...], str]

_PROGRAMS = ("/usr/sbin/postconf", "/usr/local/sbin/postconf", "/usr/bin/postconf")
"""Where postconf(1) is: the environment that spawn(8) gives to a filter has no such path."""

_DIRECTORY = "/etc/postfix"

_TABLE = frozenset(":/!")
"""What no domain has, but each file, table or exception has (postconf(5))."""

_asked: list[Found] = []


def local_domains(settings: Settings) -> Found:
    """Return the domains, in lower case, and the characters that part an extension there."""
    if settings.mydestination:
        return settings.mydestination, settings.recipient_delimiter
    if not _asked:
        _asked.append(_ask())
    domains, delimiters = _asked[0]
    return domains, settings.recipient_delimiter + delimiters


def names(value: str) -> tuple[bytes, ...]:
    """Return the domains in a value of ``mydestination``; what is a file or a table is left out."""
    words = value.lower().replace(",", " ").split()
    return tuple(dict.fromkeys(word.encode() for word in words if _TABLE.isdisjoint(word)))


def tables(value: str) -> list[str]:
    """Return the files and tables in a value of ``mydestination``, which ``names`` leaves out."""
    return [word for word in value.replace(",", " ").split() if not _TABLE.isdisjoint(word)]


def _ask() -> Found:
    """Ask postconf(1); what it cannot tell is empty."""
    found = {}
    for line in _output("mydestination", "recipient_delimiter").splitlines():
        name, _, value = line.partition("=")
        found[name.strip()] = value.strip()
    return names(found.get("mydestination", "")), found.get("recipient_delimiter", "")


def _output(*parameters: str) -> str:
    """Return what postconf(1) prints of parameters; empty if it cannot be asked."""
    program = next(filter(os.path.exists, _PROGRAMS), "")
    directory = os.environ.get("MAIL_CONFIG") or _DIRECTORY
    # Without the file it would wait a second before it says so.
    if not program or not os.path.exists(os.path.join(directory, "main.cf")):
        return ""
    reader, writer = os.pipe()
    text = bytearray()

    def replaced() -> int:
        null = os.open(os.devnull, os.O_RDWR)
        # Standard output is the policy socket.
        for old, new in (null, 0), (writer, 1), (null, 2):
            os.dup2(old, new)
        os.execv(program, [program, "-x", *parameters])  # noqa: S606 - no word of a client's

    def read() -> None:
        os.close(writer)
        while part := os.read(reader, 65536):
            text.extend(part)

    try:
        status = run(replaced, read)
    except OSError:
        return ""
    finally:
        os.close(reader)
    return "" if status else text.decode("utf-8", "replace")
