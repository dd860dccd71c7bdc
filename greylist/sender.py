"""The sender as it stands in a key: without what a machine changes from one mail to the next.

Most senders are people's, or have nothing in them that changes; the schemes of the others are
loaded when the first of them comes.
"""

from __future__ import annotations

_TELLING = b"0123456789=+*"
"""Without one of these, nothing can be left out, but for Silverpop's letters."""


def normalize(sender: bytes) -> bytes:
    """Return a sender's address in lower case, without what a machine changes mail by mail."""
    sender = sender.lower()
    local = sender.rpartition(b"@")[0]
    if len(local.translate(None, _TELLING)) == len(local) and not sender.startswith(b"v-"):
        return sender
    # Late: they are a large part of what a filter would load for its first request.
    from greylist.sender_schemes import without_schemes

    return without_schemes(sender)
