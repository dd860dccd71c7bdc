"""``greylist spf``: the networks that domains send from, as lines of a whitelist."""

from greylist.commands.spf.command import command

__all__ = ["command"]
