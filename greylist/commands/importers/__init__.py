"""Readers of what other greylisting services store."""
