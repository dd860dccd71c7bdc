"""Greylisting for Postfix: a policy service that is spawned per connection."""

__version__ = "0.2.0"
