"""``greylist whitelist``: how often each line of the lists matches."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import click

from greylist import log
from greylist.commands import output
from greylist.commands.lists import lists, read
from greylist.commands.logs.attempts import mynetworks_option, read_mail
from greylist.screening import subjects
from greylist.whitelist.matcher import Patterns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from greylist.commands.logs.attempts import Mail
    from greylist.commands.logs.maillog import Attempt
    from greylist.settings import Settings
    from greylist.whitelist.lines import Form

    Values = dict[bytes, tuple[int, int]]

_HEADS = ("MATCHES", "LAST", "WHERE", "LINE")


class Use(NamedTuple):
    """How a line was used.

    Attributes:
        path, number, text: where it stands, and what.
        matches: how many attempts it matches; None where logs do not tell.
        last: when the last of them was, in seconds since the epoch; 0 without any.
    """

    path: str
    number: int
    text: bytes
    matches: int | None
    last: int


@click.command("whitelist", short_help="Say how often each line of the lists matches.")
@click.argument("logs", nargs=-1, required=True, type=click.Path(exists=True, allow_dash=True))
@click.option("--unused", is_flag=True, help="Show only the lines that never match.")
@mynetworks_option
@output.json_option
@click.pass_obj
def command(
    settings: Settings,
    /,
    logs: tuple[str, ...],
    unused: bool,
    mynetworks: str | None,
    as_json: bool,
) -> None:
    """Say how often each line of the lists matches the mail in Postfix's LOGS, and when last.

    The lists are those in the settings: whitelist, whitelist_clients, whitelist_recipients,
    greylist_recipients, never_trust and own_clients. Each line is looked at alone, whatever other
    lines match. The logs may be packed, and given in any order; "-" is standard input. Mail with
    a login, from this machine itself and from mynetworks is left out, as Postfix does not ask
    about it. A line about what logs do not tell, such as sasl_username, has a dash. Exit status:
    0, or 1 if there is no mail in the logs.

    \b
    Examples:
      greylist whitelist /var/log/mail.log*
      greylist whitelist --unused /var/log/mail.log*
    """
    mail = read_mail(logs, mynetworks)
    mail.require()
    texts = ((path, form, _read(settings, path)) for _, path, form in lists(settings))
    found = list(uses(texts, mail.attempts))
    if unused:
        found = [use for use in found if use.matches == 0]
    if as_json:
        for use in found:
            output.print_json(as_dict(use))
    else:
        show(mail, found)


def _read(settings: Settings, path: str) -> bytes:
    """Return the bytes of a list; empty if there is no such file."""
    try:
        return read(settings, path)
    except FileNotFoundError:
        return b""


def uses(texts: Iterable[tuple[str, Form, bytes]], attempts: list[Attempt]) -> Iterator[Use]:
    """Yield how each line of lists was used.

    Args:
        texts: the file, how its lines are read, and its text.
        attempts: in the order of their times.
    """
    known: dict[bytes, Values] = {}
    for path, form, text in texts:
        for number, line in enumerate(text.split(b"\n"), 1):
            patterns = Patterns(line, form)
            parsed = None if patterns.errors else form(line)  # greylist check names errors
            if parsed is None:
                continue
            attribute = parsed[0]
            if attribute not in known:
                known[attribute] = _values(attribute, attempts)
            yield Use(path, number, line.strip(), *_count(patterns, attribute, known[attribute]))


def _values(attribute: bytes, attempts: list[Attempt]) -> Values:
    """Return each value of an attribute, how often it is there and when last.

    As in the policy, a recipient is looked at in each form that Postfix may take it for.
    """
    values: Values = defaultdict(lambda: (0, 0))
    for attempt in attempts:
        forms = subjects(attempt.request)
        found = (request.get(attribute) if attribute else subject for subject, request in forms)
        for value in {value for value in found if value is not None}:
            values[value] = values[value][0] + 1, attempt.time
    return values


def _count(patterns: Patterns, attribute: bytes, values: Values) -> tuple[int | None, int]:
    """Return how many attempts a line matches, and the time of the last one."""
    found = [
        use
        for value, use in values.items()
        if patterns.match(b"" if attribute else value, {attribute: value}) is not None
    ]
    count = sum(number for number, _ in found)
    return (count if values else None), max((last for _, last in found), default=0)


def show(mail: Mail, found: list[Use]) -> None:
    """Print how lines were used."""
    first, last = (output.local_time(mail.attempts[place].time) for place in (0, -1))
    click.echo(f"{first} to {last}: {len(mail.attempts)} attempts")
    if mail.left_out:
        click.echo(f"left out: {mail.left_out}")
    if not found:
        return
    click.echo()
    rows = [
        [
            "-" if use.matches is None else use.matches,
            output.local_time(use.last) if use.last else "never" if use.matches == 0 else "",
            f"{use.path}:{use.number}",
            log.line(use.text),
        ]
        for use in found
    ]
    output.table(_HEADS, rows, right=[0])


def as_dict(use: Use) -> dict[str, object]:
    """Return a line's use for JSON; times are in seconds since the epoch, null for never."""
    return {
        "file": use.path,
        "line": use.number,
        "text": log.line(use.text),
        "matches": use.matches,
        "last": use.last or None,
    }
