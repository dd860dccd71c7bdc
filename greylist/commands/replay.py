"""``greylist replay``: what greylisting would have done to earlier mail."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from greylist.answer import Responder
from greylist.cli import configure
from greylist.commands import output
from greylist.commands.lists import Complaints
from greylist.commands.logs.attempts import mynetworks_option, read_mail
from greylist.commands.logs.simulation import Outcome, deliveries, play
from greylist.commands.report.statistics import QUANTILES, quantile
from greylist.commands.session import kept

if TYPE_CHECKING:
    from greylist.commands.logs.attempts import Mail
    from greylist.commands.logs.simulation import Delivery
    from greylist.settings import Settings

_KINDS = (
    ("passed at once", "at_once"),
    ("delayed, retry not in the log", "unknown"),
    ("never came back", "never"),
    ("open when the log ends", "open"),
)


@click.command("replay", short_help="Try settings on the mail log.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True))
@click.option("--compare", metavar="FILE", help="Show these settings beside the ones in force.")
@mynetworks_option
@click.option("--top", type=click.IntRange(0, 1000), default=5, show_default=True, metavar="N",
              help="How many of the clients that suffer most to name.")  # fmt: skip
@output.json_option
@click.pass_obj
def command(  # noqa: PLR0913, PLR0917 - click gives each option a parameter
    settings: Settings,
    /,
    logs: tuple[str, ...],
    compare: str | None,
    mynetworks: str | None,
    top: int,
    as_json: bool,
) -> None:
    """Say what greylisting would have done to the mail in Postfix's LOGS.

    The logs may be packed (gzip, bzip2, xz, zstd), and given in any order; "-" is standard input.
    Deliveries and retries are rebuilt from them and run through the policy with the settings in
    force, at the log's own clock, in a database of their own that is thrown away. Mail with a
    login, from this machine itself and from mynetworks is left out.

    Where the log was written without greylisting it has no retries: such a delivery counts as
    delayed, for a time that is not known. Several messages at once from one sender to one
    recipient count as one. Exit status: 0, or 1 if there is no mail in the logs.

    \b
    Examples:
      greylist replay /var/log/mail.log*
      journalctl -u 'postfix*' -o short-iso | greylist replay -
      greylist --delay 10m replay --compare /etc/postfix/greylist.cf /var/log/mail.log
    """
    others = [configure(compare, {})] if compare else []
    mail = read_mail(logs, mynetworks)
    mail.require()
    found = deliveries(mail.attempts)
    complaints = Complaints()
    outcomes = [_play(found, configuration, complaints) for configuration in (settings, *others)]
    complaints.tell()
    if as_json:
        output.print_json(as_dict(mail, len(found), outcomes, top))
    else:
        names = [_name(configuration) for configuration in (settings, *others)]
        show(mail, len(found), dict(zip(names, outcomes, strict=True)), top)


def _play(found: list[Delivery], settings: Settings, complaints: Complaints) -> Outcome:
    responder = Responder(settings, complaints)
    with kept(settings).acting():  # what root can read is no proof
        return play(found, responder)


def _name(settings: Settings) -> str:
    return os.path.basename(settings.path) if settings.path else "defaults"


def show(mail: Mail, number: int, outcomes: dict[str, Outcome], top: int) -> None:
    """Print outcomes side by side."""
    first, last = (output.local_time(mail.attempts[place].time) for place in (0, -1))
    attempts, deliveries = (
        len(mail.attempts),
        "1 delivery" if number == 1 else f"{number} deliveries",
    )
    words = f"{attempts} attempt{'' if attempts == 1 else 's'}, {deliveries}"
    click.echo(f"{first} to {last}: {words}")
    if mail.left_out:
        click.echo(f"left out: {mail.left_out}")
    click.echo()
    columns = list(outcomes.values())
    rows: list[list[object]] = [
        [label, *(getattr(outcome, name) for outcome in columns)] for label, name in _KINDS
    ]
    rows.insert(1, ["delayed", *(len(outcome.delays) for outcome in columns)])
    for place, (label, share) in enumerate(QUANTILES, 2):
        rows.insert(place, [f"  {label}", *(_delay(outcome, share) for outcome in columns)])
    output.table(["", *outcomes], rows, right=range(1, len(outcomes) + 1))
    for name, outcome in outcomes.items():
        sufferers = outcome.sufferers(top)
        if sufferers:
            click.echo(f"\nClients that suffer most, {name}:")
            table = [
                [output.text(client), total, delayed, output.duration(worst) if worst else "?"]
                for client, (total, delayed, worst) in sufferers
            ]
            output.table(["CLIENT", "DELIVERIES", "DELAYED", "WORST"], table, right=[1, 2, 3])


def _delay(outcome: Outcome, share: float) -> str:
    delay = quantile(outcome.delays, share)
    return "-" if delay is None else output.duration(delay)


def as_dict(mail: Mail, number: int, outcomes: list[Outcome], top: int) -> dict[str, object]:
    """Return outcomes for JSON; times are in seconds."""
    return {
        "from": mail.attempts[0].time,
        "to": mail.attempts[-1].time,
        "attempts": len(mail.attempts),
        "deliveries": number,
        "lines": mail.lines,
        "not_understood": mail.unread,
        "left_out": {"mynetworks": mail.own, "login": mail.logins, "untold": mail.untold},
        "outcomes": [
            {
                **{name: getattr(outcome, name) for _, name in _KINDS},
                "delayed": len(outcome.delays),
                **{f"p{s * 100:g}": quantile(outcome.delays, s) for _, s in QUANTILES},
                "clients": [[output.text(name), *row] for name, row in outcome.sufferers(top)],
            }
            for outcome in outcomes
        ],
    }
