"""A mail host: its Postfix, the filters that it starts, and which endpoints are greylist's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greylist.commands.postfix.master import parts
from greylist.commands.postfix.restrictions import policy_call

if TYPE_CHECKING:
    from greylist.commands.check.spawned import Filter
    from greylist.commands.postfix.master import Service
    from greylist.commands.postfix.postconf import Postfix
    from greylist.settings import Settings


class Host:
    """A mail host, the same for all of its smtpds.

    Attributes:
        postfix: the configuration.
        filters: the greylist filters that master.cf starts.
        queue: Postfix's ``queue_directory``, to which paths of sockets are relative.
    """

    def __init__(
        self, postfix: Postfix, lines: list[Service], filters: list[Filter], settings: Settings
    ) -> None:
        self.postfix = postfix
        self.filters = filters
        self._settings = settings
        self._lines = lines
        self.queue = postfix.value("queue_directory")

    def settings(self, endpoint: str) -> Settings:
        """Return the settings of the filter or server at an endpoint of ours."""
        theirs = (one.settings for one in self.filters if one.service.is_at(endpoint))
        return next(theirs, self._settings)

    def is_ours(self, endpoint: str) -> bool:
        """Return whether an endpoint is a greylist's: one in master.cf, or a server's."""
        if any(one.service.is_at(endpoint) for one in self.filters):
            return True
        kind, place = parts(endpoint)
        for address in self._settings.listen:
            theirs, there = parts(address)
            if theirs == kind and there.endswith(place):
                return True
        if not self.filters and endpoint == self.endpoint:
            return True
        return place.rpartition("/")[2] == "greylist" and not self.is_in_master(endpoint)

    def is_in_master(self, endpoint: str) -> bool:
        """Return whether Postfix's master listens there, when it runs."""
        return any(line.is_at(endpoint) for line in self._lines)

    @property
    def endpoint(self) -> str:
        """How main.cf should refer to us."""
        if self.filters:
            return self.filters[0].service.endpoint
        return next(iter(self._settings.listen), "unix:private/greylist")

    def call(self, endpoint: str = "") -> str:
        """Return the best way to ask us, at this endpoint of ours or at the first one."""
        endpoint = endpoint or self.endpoint
        return policy_call(endpoint, max(10, self.settings(endpoint).lock_timeout + 5))

    def is_chrooted(self, line: Service) -> bool:
        """Return whether a service of master.cf sees the queue directory as its root."""
        # master(5): the default was changed with compatibility level 1.
        level = self.postfix.value("compatibility_level").partition(".")[0]
        return line.chroot == "y" or (line.chroot == "-" and level in {"", "0"})
