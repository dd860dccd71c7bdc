"""``greylist stats``: what greylisting does to the mail."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from greylist.commands import output
from greylist.commands.report.statistics import QUANTILES, Figures, delay_labels, gather
from greylist.commands.whole_file import write_whole

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from greylist.settings import Settings

_WIDTH = 40


@click.command("stats", short_help="Count entries that wait, passed and never came back.")
@click.option("--top", type=click.IntRange(0, 1000), default=5, show_default=True, metavar="N",
              help="How many clients, senders' domains and recipients to name.")  # fmt: skip
@click.option("--html", metavar="FILE", help="Write a page for the browser; it needs no network.")
@click.option("--plots/--no-plots", default=None, help="Draw in text. [default: on a terminal]")
@output.json_option
@click.pass_obj
def command(
    settings: Settings, /, top: int, html: str | None, plots: bool | None, as_json: bool
) -> None:
    """Count the triplets that wait, those that passed, and those that were stopped.

    What never came back is what greylisting stopped: of the triplets first seen between half
    a retry_window and a whole one ago, all of which are still kept, those that never passed.
    Delays are those of triplets that passed at their first retry and were not used since; of
    others, the database does not tell.

    \b
    Examples:
      greylist stats
      greylist stats --html /var/www/html/greylist.html
    """
    figures = gather(settings)
    if html:
        from greylist.commands.report.html import render

        write_whole(html, render(figures, top))
    elif as_json:
        output.print_json(as_dict(figures, top))
    else:
        show(figures, top, sys.stdout.isatty() if plots is None else plots)


def show(figures: Figures, top: int, plots: bool) -> None:
    """Print the figures for people."""
    for state, number in figures.states.items():
        click.echo(f"{output.coloured(state)}{' ' * (18 - len(state))}{number:>9}")
    for label, (whole, stopped), when in (
        ("never came back", figures.settled, "half a retry_window to a whole one ago"),
        ("", figures.old, "longer ago, as far as not purged"),
    ):
        share = output.percent(stopped, whole)
        click.echo(f"{label:<18}{share:>9}  of {whole} first seen {when}")
    _show_delays(figures, plots)
    week = sum(new for new, _ in figures.days[:7])
    click.echo(f"{'new triplets':<18}{figures.days[0][0]:>9}  in 24 hours, {week} in 7 days")
    if plots:
        rows = [(f"{n}d ago" if n else "today", new) for n, (new, _) in enumerate(figures.days)]
        _bars(rows[::-1])
    size, log = output.size(figures.bytes), output.size(figures.log_bytes)
    click.echo(f"{'database':<18}{size:>9}  and {log} of log and cache")
    for title, counter in _tops(figures):
        _show_top(title, counter, top)


def _show_delays(figures: Figures, plots: bool) -> None:
    number = len(figures.delays)
    if not number:
        click.echo(f"{'delay':<18}{'-':>9}  no triplet passed at its first retry, unused since")
        return
    for label, share in QUANTILES:
        words = output.duration(figures.quantile(share) or 0)
        rest = f"  of {number} that passed at their first retry" if share == 0.5 else ""
        click.echo(f"{'delay, ' + label:<18}{words:>9}{rest}")
    if plots:
        _bars(list(zip(delay_labels(), figures.histogram(), strict=True)))


def _bars(rows: Sequence[tuple[str, int]]) -> None:
    """Print a bar for each row, the longest one _WIDTH columns long."""
    most = max(1, *(number for _, number in rows))
    for label, number in rows:
        bar = "█" * round(_WIDTH * number / most) or ("▏" if number else "")
        click.echo(f"  {label:>12} {click.style(bar, fg='blue')} {number or ''}".rstrip())


def _tops(figures: Figures) -> tuple[tuple[str, Counter[bytes]], ...]:
    return (
        ("top clients", figures.clients),
        ("top senders' domains", figures.senders),
        ("top recipients", figures.recipients),
    )


def _show_top(title: str, counter: Counter[bytes], top: int) -> None:
    if top and counter:
        click.secho(f"\n{title}", bold=True)
        for name, number in counter.most_common(top):
            click.echo(f"{number:>9}  {output.text(name) or '<>'}")


def as_dict(figures: Figures, top: int) -> dict[str, object]:
    """Return the figures for JSON; delays are in seconds, sizes in bytes."""
    return {
        "time": figures.now,
        "states": figures.states,
        "settled": {"triplets": figures.settled[0], "never_passed": figures.settled[1]},
        "old": {"triplets": figures.old[0], "never_passed": figures.old[1]},
        "delays": {
            "triplets": len(figures.delays),
            **{f"p{share * 100:g}": figures.quantile(share) for _, share in QUANTILES},
        },
        "days": [{"new": new, "passed": passed} for new, passed in figures.days],
        "bytes": figures.bytes,
        "log_bytes": figures.log_bytes,
        **{
            title.replace(" ", "_").replace("'", ""): [
                [output.text(name), number] for name, number in counter.most_common(top)
            ]
            for title, counter in _tops(figures)
        },
    }
