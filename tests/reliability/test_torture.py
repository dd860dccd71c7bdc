"""The table of the long proofs."""

from __future__ import annotations

from tests.reliability import torture


def test_table():
    """A row that was run takes the place of the one that there was; the others stay."""
    kills, power = (row for row in torture.ROWS if row.name in {"power", "kills"})
    empty = f"Before.\n\n{torture.BEGIN}\n{torture.END}\n\nAfter.\n"
    old = torture.line_of(power, power.sized(0.01), {"states": 50, "failed": 0}, 0.4)
    text = torture.table(empty, {"power": old})
    assert old in text
    new = torture.line_of(power, power.sized(1), {"states": 5000, "failed": 0}, 19.6)
    other = torture.line_of(kills, kills.sized(1), {"kills": 4000, "lost": 0}, 3)
    text = torture.table(torture.table(text, {"kills": other}), {"power": new})
    assert "power --states 5000" in new
    assert "states: 5,000" in new
    assert text.index(other) < text.index(new)
    assert old not in text
    assert text.startswith("Before.\n\n")
    assert text.endswith("\n\nAfter.\n")


def test_sizes():
    """A part of a row is a part of its size, or each N-th of what there is."""
    sizes = {row.name: row.sized(0.01) for row in torture.ROWS}
    assert sizes["power"] == "power --states 50"
    assert sizes["calls"] == "targeted --every 100"
    assert {row.name: row.sized(1) for row in torture.ROWS}["calls"] == "targeted --every 1"
