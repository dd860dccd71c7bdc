"""What mail is delayed, and what bots are let through: the same month for all contenders."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from benchmarks import contenders, traffic
from benchmarks.bench import Table
from benchmarks.clock import Clock
from benchmarks.month.message import DAY, START
from benchmarks.month.month import month
from benchmarks.month.play import Figures, play

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.contenders import Daemon, Spawned
    from benchmarks.loader import Wire
    from benchmarks.month.message import Attempt, Message
    from benchmarks.month.play import Delivery

_EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "nogreylist.example")
_SUBMITTER = "192.0.2.77"


def quality(bench: Bench) -> list[Table]:
    """Play the month to each contender."""
    with open(_EXAMPLE, "rb") as file:
        listed = file.read()
    field: dict[str, Callable[[str], Daemon | Spawned]] = {
        "greylist.pl": lambda place: contenders.greylist_pl(place, b"^127[.]0[.]0[.]1/\n"),
        "greylist.pl (postfix-doc)": contenders.packaged_pl,
        "sqlgrey": contenders.Sqlgrey,
        "postgrey": contenders.Postgrey,
        "greylist, empty list": lambda place: contenders.ours(place, b""),
        "greylist": lambda place: contenders.ours(place, listed),
        "greylist, learn_replies": lambda place: contenders.ours(
            place, listed, settings="learn_replies = yes\n"
        ),
        "greylist, suspicious": lambda place: contenders.ours(
            place, listed, settings="greylist_clients = suspicious\n"
        ),
    }
    messages = month()
    if bench.quick:
        messages = [one for one in messages if one.attempts[-1].at < 6 * DAY]
    seen: dict[str, list[Delivery]] = {}
    for name, contender in field.items():
        bench.say(f"a month of mail: {name}")
        heard = name.endswith("learn_replies")
        seen[name] = _play(contender(bench.place()), messages, heard)
    legitimate = {
        name: [delivery for delivery in found if not delivery.bot] for name, found in seen.items()
    }
    bots = {name: [delivery for delivery in found if delivery.bot] for name, found in seen.items()}
    return [_summary(bench, legitimate, bots), _delayed(legitimate), _through(bots)]


def _play(contender: Daemon | Spawned, messages: list[Message], heard: bool) -> list[Delivery]:
    """Return what becomes of the messages; the contender's clock moves from one to the next.

    Args:
        contender: who is asked.
        messages: the month.
        heard: whether it is asked about our users' own mail too.
    """
    clock = Clock(contender.directory, START)
    contender.environment |= clock.environment
    contender.start()
    try:
        wire = contender.connect()
        try:
            return play(messages, _asker(wire, clock), _teller(wire, clock) if heard else None)
        finally:
            wire.close()
    finally:
        contender.stop()
        clock.close()


def _asker(wire: Wire, clock: Clock) -> Callable[[Attempt, Message, str, str], bool]:
    def ask(attempt: Attempt, message: Message, recipient: str, instance: str) -> bool:
        clock.set(START + attempt.at)
        host = attempt.host
        request = traffic.policy_request(
            client=host.address,
            name=host.name,
            helo=host.helo,
            sender=message.sender,
            recipient=recipient,
            instance=instance,
        )
        reply = wire.ask(request).lower()
        return reply.startswith((b"action=dunno", b"action=prepend"))

    return ask


def _teller(wire: Wire, clock: Clock) -> Callable[[int, str, str], None]:
    def tell(at: int, user: str, other: str) -> None:
        clock.set(START + at)
        request = traffic.policy_request(
            client=_SUBMITTER,
            name="unknown",
            helo="laptop",
            sender=user,
            recipient=other,
            instance=f"{at:x}.own",
            user=user,
        )
        wire.ask(request)

    return tell


def _summary(
    bench: Bench, legitimate: dict[str, list[Delivery]], bots: dict[str, list[Delivery]]
) -> Table:
    some = next(iter(legitimate.values()))
    table = Table(
        "Quality: a month of mail",
        "| delayed | ÷ postgrey | in the last ten days | median | 99 % | worst | lost "
        "| bots through",
        f"{len(some):,} deliveries that are wanted and {len(next(iter(bots.values()))):,} of bots; "
        "the times are of those delayed.",
    )
    all = {name: Figures(found) for name, found in legitimate.items()}
    for name, figures in all.items():
        late = Figures([one for one in legitimate[name] if one.at >= 20 * DAY])
        table.add(
            name,
            _percent(figures.delayed),
            f"{figures.delayed / all['postgrey'].delayed:.2f} ×",
            _percent(late.delayed),
            *(_minutes(figures.quantile(share)) for share in (0.5, 0.99, 1)),
            str(figures.lost),
            _percent(Figures(bots[name]).through),
        )
    if bench.quick:
        return table
    mine, suspicious = all["greylist"], all["greylist, suspicious"]
    for peer in "postgrey", "sqlgrey":
        table.must(f"≤ 0.35 × what {peer} delays", mine.delayed / all[peer].delayed, 0.35)
        more = Figures(bots["greylist"]).through - Figures(bots[peer]).through
        table.must(f"≤ 0 % more of the bots' mail than {peer} through", 100 * more, 0)
        table.must(
            f"≤ 0.1 × what {peer} delays, with `suspicious`",
            suspicious.delayed / all[peer].delayed,
            0.1,
        )
    table.must("≤ 30 minutes for 99 % of what is delayed", mine.quantile(0.99) // 60, 30)
    table.must("≤ 0 deliveries lost", mine.lost, 0)
    return table


def _delayed(legitimate: dict[str, list[Delivery]]) -> Table:
    kinds = sorted({one.kind for found in legitimate.values() for one in found})
    table = Table(
        "Quality: wanted mail that is delayed, by kind",
        " | ".join(["", *kinds]),
        "The share delayed, the median of their delays, the time that 99 % of them need at most, "
        "and the number of those lost.",
    )
    for name, found in legitimate.items():
        cells = []
        for kind in kinds:
            figures = Figures([one for one in found if one.kind == kind])
            times = ", ".join(_minutes(figures.quantile(share)) for share in (0.5, 0.99))
            lost = f", {figures.lost} lost" if figures.lost else ""
            cells.append(f"{_percent(figures.delayed)}: {times}{lost}")
        table.add(name, *cells)
    return table


def _through(bots: dict[str, list[Delivery]]) -> Table:
    kinds = sorted({one.kind for found in bots.values() for one in found})
    table = Table("Quality: bots' mail that is let through, by kind", " | ".join(["", *bots]))
    for kind in kinds:
        row = [Figures([one for one in found if one.kind == kind]) for found in bots.values()]
        table.add(kind, *(_percent(figures.through) for figures in row))
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _minutes(seconds: int) -> str:
    return f"{seconds / 60:.0f} min"
