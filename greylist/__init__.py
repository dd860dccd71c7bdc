"""Greylisting for Postfix: a policy service that is spawned per connection."""

__version__ = "0.1.0"
