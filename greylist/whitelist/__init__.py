"""Lists of who is never, or only, greylisted: their lines, and how they are matched."""
