"""The page of ``greylist stats --html``: one file, its plots in SVG, no script, no network."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from greylist import __version__
from greylist.commands import output
from greylist.commands.report.statistics import QUANTILES, delay_labels

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from greylist.commands.report.statistics import Figures

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --faint: #6b7685; --line: #d8dee6;
  --paper: #fff; --panel: #f5f7fa; --first: #3d6fb4; --second: #a9c4e8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --faint: #96a1b0;
  --line: #323b47; --paper: #14181e; --panel: #1b2129; --first: #7fa9e0; --second: #38557c; } }
body { font: 15px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 0 0 .6rem; }
p.when, figcaption { color: var(--faint); margin: .2rem 0 1.4rem; }
figcaption { margin: .3rem 0 0; font-size: .85rem; }
section, figure { background: var(--panel); border: 1px solid var(--line);
  border-radius: 8px; padding: 1rem; margin: 0 0 1rem; overflow-x: auto; }
.row { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); }
.row.small { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); }
.number { font-size: 1.6rem; font-variant-numeric: tabular-nums; }
.label { color: var(--faint); }
table { border-collapse: collapse; width: 100%; }
td { padding: .15rem 0; overflow-wrap: anywhere; }
td:last-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap;
  padding-left: 1rem; vertical-align: top; }
svg { width: 100%; display: block; overflow: visible; } svg text { font: 12px system-ui, sans-serif;
  fill: var(--faint); } .first { fill: var(--first); } .second { fill: var(--second); }
.axis { stroke: var(--line); }
@media (max-width: 40rem) { body { padding: 0 .4rem; } figure { padding: 1rem .4rem; }
  svg text { font-size: 11px; } svg .count { font-size: 10px; } .sparse { display: none; } }
@media (max-width: 22rem) { svg text { font-size: 10px; } svg .count { font-size: 8px; } }
"""

_HEIGHT, _FOOT = 180, 24
_LABELS = 5
"""Labels below the bars that have room side by side on a telephone."""


def render(figures: Figures, top: int) -> str:
    """Return the page."""
    when = output.local_time(figures.now)
    days = [
        (f"{n}d ago" if n else "today", new, passed) for n, (new, passed) in enumerate(figures.days)
    ]
    delays = [
        (label, number, number)
        for label, number in zip(delay_labels(), figures.histogram(), strict=True)
    ]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Greylisting, {when}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>Greylisting</h1>
<p class="when">{when}, greylist {__version__}</p>
<div class="row small">{_cards(figures)}</div>
<figure>
<h2>New triplets a day</h2>
{bars(days[::-1])}
<figcaption>Dark: those that have passed. Light: those that have not, if still kept.</figcaption>
</figure>
<figure>
<h2>Delay until a triplet passed</h2>
{bars(delays)}
<figcaption>{escape(_quantiles(figures))}</figcaption>
</figure>
<div class="row">
{_top("Clients", figures.clients, top)}
{_top("Senders&rsquo; domains", figures.senders, top)}
{_top("Recipients", figures.recipients, top)}
</div>
</body>
</html>
"""


def _cards(figures: Figures) -> str:
    whole, stopped = figures.settled
    cards = [(state, str(number)) for state, number in figures.states.items()]
    cards.append(("never came back", output.percent(stopped, whole)))
    cards.append(("database", output.size(figures.bytes)))
    return "".join(
        f'<section><div class="number">{escape(number)}</div>'
        f'<div class="label">{escape(label)}</div></section>'
        for label, number in cards
    )


def _quantiles(figures: Figures) -> str:
    if not figures.delays:
        return "No triplet has passed at its first retry and been unused since."
    words = [
        f"{label} {output.duration(figures.quantile(share) or 0)}" for label, share in QUANTILES
    ]
    text = f"Of {len(figures.delays)} triplets that passed at their first retry, unused since: "
    return text + ", ".join(words) + "."


def bars(rows: Sequence[tuple[str, int, int]]) -> str:
    """Return a bar chart in SVG: a label, a number and the dark part of it for each bar.

    Across, all is in percent, so that the letters keep their size on a narrow screen; there, some
    labels are left out.
    """
    most = max(1, *(number for _, number, _ in rows))
    slot = 100 / len(rows)
    step = -(-len(rows) // _LABELS)
    parts = []
    for place, (label, number, dark) in enumerate(rows):
        x = place * slot
        for size, name in ((number, "second"), (dark, "first")):
            height = (_HEIGHT - 20) * size / most
            parts.append(
                f'<rect class="{name}" x="{x + slot * 0.15:.2f}%" y="{_HEIGHT - height:.1f}" '
                f'width="{slot * 0.7:.2f}%" height="{height:.1f}" rx="2"/>'
            )
        y = _HEIGHT - (_HEIGHT - 20) * number / most - 5
        middle = f'x="{x + slot / 2:.2f}%" text-anchor="middle"'
        parts.append(f'<text {middle} y="{y:.1f}" class="count">{_short(number)}</text>')
        sparse = ' class="sparse"' if (len(rows) - 1 - place) % step else ""
        parts.append(f'<text {middle} y="{_HEIGHT + 17}"{sparse}>{escape(label)}</text>')
    axis = f'<line class="axis" x1="0" x2="100%" y1="{_HEIGHT}" y2="{_HEIGHT}"/>'
    return f'<svg height="{_HEIGHT + _FOOT}" role="img">{"".join(parts)}{axis}</svg>'


def _short(number: int) -> str:
    """Return a number in four letters at most: ``9``, ``1.2k``, ``34k``; empty for none."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= 10 * size:
            return f"{number // size}{unit}"
        if number >= size:
            return f"{number * 10 // size / 10}{unit}"
    return str(number or "")


def _top(title: str, counter: Counter[bytes], top: int) -> str:
    rows = "".join(
        f"<tr><td>{escape(output.text(name) or '<>')}</td><td>{number}</td></tr>"
        for name, number in counter.most_common(top)
    )
    return f"<section><h2>{title}</h2><table>{rows}</table></section>"
