"""``greylist setup``: make a mail host's Postfix ask greylist."""

from greylist.commands.setup.command import command

__all__ = ["command"]
