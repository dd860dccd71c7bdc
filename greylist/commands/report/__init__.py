"""Figures of the database and the log, and their page."""
