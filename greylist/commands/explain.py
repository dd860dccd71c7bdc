"""``greylist explain``: what would be answered, and why."""

from __future__ import annotations

import functools
import io
import os
import re
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import click

from greylist import log
from greylist.addresses import parse_address
from greylist.answer import Responder
from greylist.client import suspicious
from greylist.commands import output
from greylist.commands.lists import Complaints
from greylist.commands.logs.pasted import Pasted, attempts
from greylist.commands.session import kept
from greylist.protocol import RequestError, read_requests
from greylist.store.memory import MemoryStore, Overlay
from greylist.whitelist.lines import Line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from greylist.commands.logs.refusal import Refusal
    from greylist.decision import Decision
    from greylist.protocol import Request
    from greylist.settings import Settings
    from greylist.store import Entries

_ATTRIBUTES = ("client_address", "client_name", "helo_name", "sender", "recipient", "sasl_username")


def _attributes(function: Callable[..., Any]) -> Callable[..., Any]:
    for name in reversed(_ATTRIBUTES):
        option = click.option("--" + name.replace("_", "-"), metavar="TEXT", help=f"The {name}.")
        function = option(function)
    return function


class Explanation(NamedTuple):
    """What would be answered to a request, and why.

    Attributes:
        looked_up: the entries that were asked for, with what was found.
        stored: what the filter would store.
        place: the line that matched, as ``FILE:LINE: TEXT``, empty when none did.
        passes: when a retry would pass, in seconds since the epoch; nothing if this one does.
        sign: by which the client looks like no mail server, empty when there is none.
        refusal: the refusal in the log, if that is where the request is from.
        refused_by: whose refusal it was, in words; empty if it was greylist's.
    """

    request: Request
    decision: Decision
    looked_up: list[tuple[bytes, bytes | None]]
    stored: dict[bytes, bytes | None]
    place: str
    passes: int | None
    sign: str = ""
    refusal: Refusal | None = None
    refused_by: str = ""


@click.command("explain", short_help="Say what a request would be answered, and why.")
@_attributes
@output.json_option
@click.pass_obj
def command(settings: Settings, /, as_json: bool, **attributes: str | None) -> None:
    """Say what a request would be answered now, and why. Nothing is changed.

    The request is given in options, or on standard input: as name=value lines like Postfix's
    own, or as lines pasted from the mail log, "NOQUEUE: reject: RCPT from ..." or greylist's own
    "action=..."; two lines about one attempt are one request. Exit status: 0, or 1 if there is
    no request in the input.

    \b
    Examples:
      greylist explain --client-address 192.0.2.1 --sender a@example.com \\
          --recipient b@example.org
      grep 'NOQUEUE: reject.*b@example.org' /var/log/mail.log | greylist explain
    """
    if any(attributes.values()):
        requests = [_unlogged(_request(attributes))]
    else:
        data = _standard_input()
        requests = list(_requests(data))
        if not requests:
            first = output.visible(data.strip().partition(b"\n")[0][:160])
            shown = f"; its first line is: {first}" if first else ", as it is empty"
            click.echo(f"There is no request in the input{shown}", err=True)
            raise click.exceptions.Exit(1)
    complaints = Complaints()
    responder = Responder(settings, complaints)
    with kept(settings).acting():  # what root can read is no proof
        screened = [(pasted.request, responder.screen(pasted.request)) for pasted in requests]
    complaints.tell()
    explanations = zip(explain_all(screened, responder), requests, strict=True)
    for number, (bare, pasted) in enumerate(explanations):
        explanation = bare._replace(refusal=pasted.refusal, refused_by=_by(pasted, settings))
        if as_json:
            output.print_json(as_dict(explanation))
        else:
            click.echo("\n" if number else "", nl=False)
            show(explanation, settings)


def _request(attributes: dict[str, str | None]) -> Request:
    """Return the request that options make; a value may be copied from the log or a list."""
    given = {
        k.encode(): log.unquote(os.fsencode(v)) for k, v in attributes.items() if v is not None
    }
    if not _is_about_mail(given):
        raise click.UsageError("--client-address and --recipient are needed at least")
    address = given[b"client_address"]
    if parse_address(address) is None:
        raise click.UsageError(f"--client-address {output.text(address)} is not an address")
    return {b"request": b"smtpd_access_policy", **given}


def _unlogged(request: Request) -> Pasted:
    return Pasted(request, None, False)


def _by(pasted: Pasted, settings: Settings) -> str:
    """Return who refused, in words: empty if it was greylist, or nobody did."""
    refusal = pasted.refusal
    if refusal is None:
        return ""
    if refusal.by:
        return refusal.by
    if not (refusal.temporary or settings.action.startswith("5")):
        return "an access table or another policy service, as greylist only defers"
    # The parts of the reply that do not change from one request to the next.
    parts = re.split(r"%[scr]", settings.reply)
    pattern = b".*".join(re.escape(part.encode()) for part in parts)
    if pasted.decided or re.search(pattern, refusal.reply):
        return ""
    return "another policy service or an access table, as it is not greylist's reply"


def _is_about_mail(request: Request) -> bool:
    return bool(request.get(b"client_address") and request.get(b"recipient"))


def _standard_input() -> bytes:
    if sys.stdin.isatty():
        click.echo("Type a request, then an empty line, then Control-D.", err=True)
    return sys.stdin.buffer.read()


def _requests(data: bytes) -> Iterator[Pasted]:
    """Yield the requests in the input; lines of a log are requests of their own."""
    if pasted := attempts(data.splitlines()):
        yield from pasted
        return
    stream = io.BytesIO(data.replace(b"\r\n", b"\n").rstrip(b"\n") + b"\n\n")
    try:
        for request in read_requests(lambda: stream.read(65536), bytes):
            # Of Postfix's own, also what it asks without a recipient.
            if b"request" in request or _is_about_mail(request):
                yield _unlogged(request)
    except RequestError as error:
        raise click.UsageError(str(error)) from error


def explain_all(
    requests: list[tuple[Request, Decision | None]], responder: Responder
) -> Iterator[Explanation]:
    """Yield the explanations of requests, each with its decision if it needs no entry."""
    if all(screened for _, screened in requests):
        yield from (explain(*pair, responder, None) for pair in requests)
        return
    settings = responder.settings
    database = kept(settings)
    with database.acting():
        known = database.exists()
    if not known:
        words = f"There is no database at {settings.database} yet: it counts as empty."
        click.echo(words, err=True)
        empty = MemoryStore()
        yield from (explain(*pair, responder, empty) for pair in requests)
    else:
        with database.opened() as store:
            for pair in requests:
                yield store.transact(functools.partial(explain, *pair, responder))


def explain(
    request: Request, screened: Decision | None, responder: Responder, entries: Entries | None
) -> Explanation:
    """Return what the policy would decide, its changes going nowhere."""
    sign = suspicious(request, responder.settings) if _is_about_mail(request) else ""
    if screened or entries is None:
        assert screened
        return Explanation(request, screened, [], {}, _place(screened.found), None, sign)
    now = int(time.time())
    overlay = Overlay(entries.get)
    decision = responder.decide(request, overlay, now)
    looked_up, stored = list(overlay.looked_up), dict(overlay.changes)
    passes = None
    if decision.verdict == "greylist":
        passes = now + max(0, responder.settings.delay - decision.age)
        retry = responder.decide({**request, b"instance": b""}, overlay, passes)
        passes = passes if retry.verdict == "pass" else None
    return Explanation(request, decision, looked_up, stored, "", passes, sign)


def _place(line: bytes) -> str:
    """Return where a whitelist's line stands."""
    if not isinstance(line, Line):
        return ""
    return f"{line.path}:{line.number}: {log.line(line)}"


def show(explanation: Explanation, settings: Settings) -> None:
    """Print an explanation for people."""
    rows = [("request", _described(explanation.request)), *_refused(explanation)]
    if not explanation.refused_by or explanation.request[b"recipient"]:
        rows += _answer(explanation, settings)
    width = max(len(name) for name, _ in rows)
    for name, words in rows:
        click.echo(click.style(name.ljust(width), bold=True) + "  " + words)


def _answer(explanation: Explanation, settings: Settings) -> list[tuple[str, str]]:
    """Return the rows that say what the policy would answer, and why."""
    decision = explanation.decision
    rows = [
        ("suspicious", explanation.sign or "no sign"),
        ("whitelist", explanation.place or _not_whitelisted(explanation, settings)),
    ]
    rows += [_entry("", *pair) for pair in explanation.looked_up]
    if decision.warning:
        rows.append(("warning", decision.warning))
    rows += [("reason", decision.reason), ("answer", decision.action.decode())]
    if explanation.passes is not None:
        when = output.local_time(explanation.passes)
        words = "if tried again after" if decision.age else "if tried now and again after"
        rows.append(("would pass", f"{words} {when}"))
    stored = explanation.stored.items()
    rows += [_entry("would store ", *pair) for pair in stored]
    return rows


def _refused(explanation: Explanation) -> list[tuple[str, str]]:
    """Return rows for the refusal in the log if another program made it."""
    refusal = explanation.refusal
    if refusal is None or not explanation.refused_by:
        return []
    only = " (a warning: it was not refused)" if refusal.warning else ""
    rows = [("refused", f"by {explanation.refused_by}: {output.visible(refusal.reply)}{only}")]
    if refusal.request[b"recipient"]:
        rows.append(("greylist", "did not refuse it; asked now, it would answer as follows"))
    return rows


def _entry(label: str, key: bytes, value: bytes | None) -> tuple[str, str]:
    """Return a row for an entry: its kind, its key, and its value."""
    kind = b"triplet"
    if key.startswith(b"/"):
        kind, _, key = key[1:].partition(b"/")
    name = key.hex() if kind == b"pool" else output.text(key)  # which is a digest
    return label + output.text(kind), f"{name}: {_value(value)}"


def _described(request: Request) -> str:
    def get(name: bytes) -> str:
        return output.text(request.get(name, b""))

    name = get(b"client_name") or "?"
    text = f"{name}[{get(b'client_address')}] from=<{get(b'sender')}> to=<{get(b'recipient')}>"
    return f"{text} login={get(b'sasl_username')}" if get(b"sasl_username") else text


def _not_whitelisted(explanation: Explanation, settings: Settings) -> str:
    if not explanation.decision.stored:
        return "no line was asked for" if not explanation.decision.key else "no line matches"
    more = (*settings.whitelist_clients, *settings.whitelist_recipients)
    return f"no line matches in {', '.join((settings.whitelist, *more))}"


def _value(value: bytes | None) -> str:
    """Return a stored value with its times in words."""
    if value is None:
        return "not there"
    words = output.text(value)
    fields = words.split("/")
    if len(fields) == 3 and fields[0].isdigit() and fields[1].isdigit():
        words += f" (first {output.local_time(int(fields[0]))}"
        words += f", last {output.local_time(int(fields[1]))})" if int(fields[1]) else ")"
    return words


def as_dict(explanation: Explanation) -> dict[str, object]:
    """Return an explanation for JSON."""
    decision = explanation.decision
    return {
        "action": decision.action.decode(),
        "verdict": decision.verdict,
        "reason": decision.reason,
        "warning": decision.warning,
        "suspicious": explanation.sign,
        "whitelist": explanation.place,
        "passes": explanation.passes,
        "refused_by": explanation.refused_by,
        "refusal": output.visible(explanation.refusal.reply) if explanation.refusal else "",
        "request": _texts(explanation.request),
        "looked_up": _texts(dict(explanation.looked_up)),
        "would_store": _texts(explanation.stored),
    }


def _texts(pairs: Any) -> dict[str, str | None]:
    return {
        output.text(name): None if value is None else output.text(value)
        for name, value in pairs.items()
    }
