"""``greylist metrics``: the figures as Prometheus' text.

The format is that of Prometheus' documentation, "Text-based format", version 0.0.4; written
by hand, since it has no more to it than these few lines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from greylist import __version__
from greylist.commands.report.statistics import QUANTILES, Figures, gather
from greylist.commands.whole_file import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from greylist.settings import Settings


@click.command("metrics", short_help="Print the figures for Prometheus.")
@click.option("--output", "path", metavar="FILE", help="Write this file, at once as a whole.")
@click.pass_obj
def command(settings: Settings, /, path: str | None) -> None:
    """Print the figures as Prometheus' text, for node_exporter's textfile collector.

    All are gauges of what is in the database now. With --output, the file is replaced as a
    whole, so that the collector never reads half of it.

    \b
    Example (from cron):
      greylist metrics --output /var/lib/prometheus/node-exporter/greylist.prom
    """
    text = render(gather(settings))
    if path:
        write_whole(path, text)
    else:
        click.echo(text, nl=False)


def render(figures: Figures) -> str:
    """Return the metrics."""
    settled, stopped = figures.settled
    quantiles = [(f'{{quantile="{share:g}"}}', figures.quantile(share)) for _, share in QUANTILES]
    metrics: tuple[tuple[str, str, Iterable[tuple[str, int | None]]], ...] = (
        ("build_info", "The version that wrote this.", [(f'{{version="{__version__}"}}', 1)]),
        (
            "entries",
            "Entries in the database, by state.",
            [(f'{{state="{state}"}}', number) for state, number in figures.states.items()],
        ),
        (
            "settled_triplets",
            "Triplets first seen between half a retry_window and a whole one ago.",
            [("", settled)],
        ),
        (
            "settled_stopped_triplets",
            "Those of greylist_settled_triplets that have never passed.",
            [("", stopped)],
        ),
        (
            "delay_seconds",
            "Time between the two attempts of triplets that passed at their first retry.",
            [] if not figures.delays else quantiles,
        ),
        ("new_triplets", "Triplets first seen in the last 24 hours.", [("", figures.days[0][0])]),
        ("database_size_bytes", "Size of the database.", [("", figures.bytes)]),
        ("log_size_bytes", "Size of its log and cache on disk.", [("", figures.log_bytes)]),
        ("scrape_timestamp_seconds", "When this was written.", [("", figures.now)]),
    )
    lines = []
    for name, help, samples in metrics:
        lines.append(f"# HELP greylist_{name} {help}")
        lines.append(f"# TYPE greylist_{name} gauge")
        lines += [f"greylist_{name}{labels} {value}" for labels, value in samples]
    return "\n".join(lines) + "\n"
