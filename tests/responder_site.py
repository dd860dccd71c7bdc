"""A place with a settings file, and the filter's responder that follows it, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heard import Heard
from settled import write

from greylist import settings
from greylist.answer import Responder

if TYPE_CHECKING:
    from pathlib import Path

PASS = b"action=dunno\n\n"
DEFER = b"action=defer_if_permit Service is temporarily unavailable\n\n"
REQUEST = {
    b"request": b"smtpd_access_policy",
    b"client_address": b"192.0.2.1",
    b"client_name": b"unknown",
    b"sender": b"a@example.com",
    b"recipient": b"b@example.org",
}


class Site:
    """A directory with a settings file, and a filter that reads it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.data.mkdir(mode=0o700)
        self.config = directory / "greylist.cf"
        self.log = Heard()

    def write(self, text: str = "") -> None:
        """Write the settings file, with these further lines."""
        database = f"database = {self.data}/greylist.db\nwhitelist = {self.directory}/no\n"
        write(self.config, database + text)

    def filter(self) -> Responder:
        """Return a filter with the settings of the file."""
        return Responder(settings.load(str(self.config)), self.log)
