"""The doctor on recipients: whether ``greylist_recipients`` takes an address as Postfix does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.check.report import Finding
from greylist.local_domains import names, tables
from greylist.settings import DEFAULT_PATH

if TYPE_CHECKING:
    from greylist.commands.check.report import Findings
    from greylist.commands.postfix.postconf import Postfix
    from greylist.settings import Settings


def examine(postfix: Postfix, settings: Settings) -> Findings:
    """Yield a finding for each way in which Postfix delivers an address that the list misses."""
    if not settings.greylist_recipients:
        return
    where = settings.path or DEFAULT_PATH
    value, given = postfix.value("mydestination"), settings.mydestination
    domains = names(value)
    unread = tables(value)
    if not given and unread:
        text = f"mydestination of main.cf has {unread[0]}, which greylist does not look into: "
        text += "a user's address in a domain of it escapes greylist_recipients"
        known = b" ".join(domains).decode()
        remedy = f"Write into {where} all domains:\nmydestination = {known} ..."
        yield Finding("warning", "recipients", text, remedy)
    elif given and not unread and set(given) != set(domains):
        text = "mydestination is not as in main.cf: greylist_recipients takes other addresses for "
        text += "one user's than Postfix does"
        remedy = f"Delete mydestination from {where}, so that Postfix is asked."
        yield Finding("warning", "recipients", text, remedy)
    delimiters = postfix.value("recipient_delimiter")
    if given and set(delimiters) - set(settings.recipient_delimiter):
        text = f"recipient_delimiter of main.cf is {delimiters}: an address with such an extension "
        text += "escapes greylist_recipients"
        remedy = f"Write into {where}:\nrecipient_delimiter = {delimiters}"
        yield Finding("warning", "recipients", text, remedy)
