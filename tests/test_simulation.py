"""How late mail is: senders' published retry schedules, replayed over their published pools."""

from __future__ import annotations

import random

import pytest
from memory import Memory

from benchmarks.month.senders import FEW, SENDERS
from greylist.policy import decide
from greylist.settings import Settings

RUNS = 100
NOW = 1_790_000_000
NEVER = 10**9
MANY = 100
"""More than there are attempts: another one each time, the worst case."""

RULES = {
    "exact address": {"ipv4_prefix": "32", "pool": "off"},
    "/24": {"pool": "off"},
    "ours": {},
}


def attempts(sender, chance, unknown: int = FEW) -> list[tuple[int, dict[bytes, bytes]]]:
    """Return when each attempt comes, and its request.

    A sender whose number of addresses is not known has as many as given.
    """
    return [
        (
            at,
            {
                b"client_address": source.encode(),
                b"client_name": sender.host(source).encode(),
                b"sender": b"joe@example.com",
                b"recipient": b"jane@example.org",
            },
        )
        for at, source in zip(sender.times, sender.sources(chance, unknown), strict=True)
    ]


def delay(timeline, rule) -> int:
    """Return after how many seconds the mail is let through."""
    entries, settings = Memory(), Settings()
    for name, value in RULES[rule].items():
        settings.set(name, value)
    for at, request in timeline:
        if decide(request, entries, settings, NOW + at).verdict == "pass":
            return at
    return NEVER


def replay(unknown: int) -> dict[str, dict[str, list[int]]]:
    """Return the delays of every run, by rule and sender; the same chance for each rule."""
    found = {rule: {name: [] for name in SENDERS} for rule in RULES}
    for sender in SENDERS.values():
        for run in range(RUNS):
            timeline = attempts(sender, random.Random(run), unknown)
            for rule in RULES:
                found[rule][sender.name].append(delay(timeline, rule))
    return found


@pytest.fixture(scope="module", params=[FEW, MANY])
def delays(request):
    """Return the delays with few addresses, and with another one each time."""
    return replay(request.param)


def summary(delays, rule) -> tuple[str, ...]:
    """Return the median, 90 %, 99 % and the worst in minutes, and the share that never passes."""
    every = sorted(one for each in delays[rule].values() for one in each)
    picks = [every[len(every) * share // 100] for share in (50, 90, 99)] + [every[-1]]
    never = 100 * every.count(NEVER) / len(every)
    return *("never" if one == NEVER else f"{one / 60:.0f}" for one in picks), f"{never:.1f} %"


def test_sixteen_senders():
    """The data are 16 senders, each with its source and with times that go up."""
    assert len(SENDERS) == 16
    for sender in SENDERS.values():
        assert sender.source
        assert sender.times == sorted(set(sender.times))


def test_ours_is_the_first_retry_after_the_delay(delays):
    """Whatever the pool, mail passes at the sender's first retry after the delay."""
    for sender in SENDERS.values():
        first = next(at for at in sender.times if at >= 300)
        assert set(delays["ours"][sender.name]) == {first}


def test_ours_is_never_later(delays):
    """No mail is later with our rule than by network, and none by network than by address."""
    for sender in SENDERS.values():
        runs = zip(
            *(delays[rule][sender.name] for rule in ("ours", "/24", "exact address")), strict=True
        )
        assert all(ours <= network <= exact for ours, network, exact in runs)


def test_distribution():
    """The distribution of the delays is the one that the documentation shows."""
    delays = replay(FEW)
    assert {rule: summary(delays, rule) for rule in RULES} == {
        "exact address": ("7", "80", "420", "540", "0.0 %"),
        "/24": ("7", "60", "300", "540", "0.0 %"),
        "ours": ("6", "19", "30", "30", "0.0 %"),
    }


def test_worst_case():
    """From another address each time, mail is late or lost but with our rule."""
    delays = replay(MANY)
    assert {rule: summary(delays, rule) for rule in RULES} == {
        "exact address": ("13", "never", "never", "never", "24.7 %"),
        "/24": ("7", "never", "never", "never", "13.9 %"),
        "ours": ("6", "19", "30", "30", "0.0 %"),
    }


def test_cost_of_recognising_a_pool():
    """A waiting triplet costs one record for its pool, and its retries from elsewhere none."""
    for sender in SENDERS.values():
        entries, settings = Memory(), Settings()
        for at, request in attempts(sender, random.Random(1)):
            decide(request, entries, settings, NOW + at)
        triplets = len(entries.triplets)
        pools = sum(name.startswith(b"/pool/") for name in entries)
        assert (triplets, pools) == (1, 1), sender.name
