"""``greylist check``: look for what is wrong, and say what mends it."""

from greylist.commands.check.command import command

__all__ = ["command"]
