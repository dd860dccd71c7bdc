"""The count of the entries, and of those that are broken, in whatever store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from greylist.commands import output
from greylist.commands.check.report import Finding
from greylist.commands.entry import entry_of
from greylist.commands.session import kept
from greylist.triplet import Triplet

if TYPE_CHECKING:
    from greylist.commands.check.report import Findings
    from greylist.settings import Settings


class Census:
    """All entries, read once.

    Attributes:
        number: how many there are, as list shows and stats counts them.
    """

    def __init__(self, settings: Settings) -> None:
        """Read the entries; nothing is changed.

        Raises:
            StoreError: the entries cannot be read.
        """
        now = int(time.time())
        self.number = self._future = 0
        self._broken: list[bytes] = []
        with kept(settings).backup(recover=False) as stored:
            for key, value in output.progress(stored, "Reading"):
                self.number += entry_of(key, value, settings, now) is not None
                if key.startswith(b"/"):
                    continue
                try:
                    self._future += Triplet.unpack(value).ctime > now
                except ValueError:
                    self._broken.append(key)

    def findings(self) -> Findings:
        """Yield the findings about broken entries and about those from the future."""
        broken = self._broken
        if broken:
            many = "1 value is" if len(broken) == 1 else f"{len(broken)} values are"
            text = f"{many} not ctime/atime/count, first {output.text(broken[0])}"
            remedy = "Nothing to do: what has no such value counts as new at its next attempt."
            yield Finding("warning", "database", text, remedy)
        if self._future:
            many = (
                "1 first attempt lies"
                if self._future == 1
                else f"{self._future} first attempts lie"
            )
            text = f"{many} in the future: the clock went back"
            yield Finding("warning", "database", text, "Check the clock (chronyc tracking).")
