"""A log that a test listens to."""

from __future__ import annotations

from greylist.log import Log


class Heard(Log):
    """A log that keeps its lines."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def _write(self, priority: int, text: str) -> None:
        self.lines.append(text)
