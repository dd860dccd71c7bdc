"""The month of mail that the benchmarks play to everybody, and what our rules make of it."""

from __future__ import annotations

import pytest
from memory import Memory

from benchmarks.month.message import START, Attempt, Host, Message
from benchmarks.month.month import month
from benchmarks.month.play import Figures, play
from greylist.policy import decide
from greylist.settings import Settings

HOST = Host("11.0.0.1", "mail.firm.example", "mail.firm.example")


@pytest.fixture(scope="module")
def messages():
    return month()


def asker(entries, **changes):
    """Return who decides by our rules with these settings over these entries."""
    settings = Settings()
    for name, value in changes.items():
        settings.set(name, value)

    def ask(attempt, message, recipient, instance):
        request = {
            b"client_address": attempt.host.address.encode(),
            b"client_name": attempt.host.name.encode(),
            b"helo_name": attempt.host.helo.encode(),
            b"sender": message.sender.encode(),
            b"recipient": recipient.encode(),
            b"instance": instance.encode(),
            b"protocol_state": b"RCPT",
        }
        return decide(request, entries, settings, START + attempt.at).verdict == "pass"

    return ask


def share(some, of):
    return len(some) / len(of)


def test_seeded(messages):
    """A seed makes one month, another seed another."""
    assert month() == messages
    assert month(13) != messages


def test_attempts(messages):
    """Every message comes from somewhere, its attempts in order."""
    for message in messages:
        times = [attempt.at for attempt in message.attempts]
        assert times == sorted(times)
        assert message.recipients


def test_wanted(messages):
    """It has all kinds of wanted mail, 6,000 to 7,000 deliveries."""
    wanted = [message for message in messages if not message.bot]
    assert {message.kind for message in wanted} == {
        "large provider",
        "small server",
        "several recipients",
        "30 recipients",
        "list mail",
        "one-time code",
        "reply",
    }
    assert 5_500 < sum(len(message.recipients) for message in wanted) < 7_500
    servers = {one.attempts[0].host for one in wanted if one.kind == "small server"}
    assert 0.05 < share([host for host in servers if host.name == "unknown"], servers) < 0.15


def test_bots(messages):
    """Half of the bots have no name, a quarter a customer's, a quarter a proper one."""
    bots = {message.attempts[0].host: message.kind for message in messages if message.bot}
    assert 900 < len(bots) <= 1000
    for name, expected in ("no name", 0.5), ("customer's name", 0.25), ("proper name", 0.25):
        seen = share([kind for kind in bots.values() if kind.endswith(name)], bots)
        assert abs(seen - expected) < 0.05, name
    unnamed = [host for host, kind in bots.items() if kind.endswith("no name")]
    assert {host.name for host in unnamed} == {"unknown"}


def test_a_message_with_too_many_deferred_recipients_is_not_delivered():
    """Postfix hangs up at the twentieth error, so those accepted before it come again."""
    recipients = tuple(f"user{number}@example.org" for number in range(21))
    attempts = tuple(Attempt(at, HOST) for at in (0, 300, 600))
    message = Message("any", False, "a@firm.example", recipients, attempts)
    asked = []

    def ask(attempt, message, recipient, instance):
        asked.append((attempt.at, recipient))
        return attempt.at == 600 or recipient == recipients[0]

    found = play([message], ask)
    assert [one.delay for one in found] == [600] * 21
    assert sum(at == 0 for at, _ in asked) == 21
    assert sum(at == 300 for at, _ in asked) == 21


def test_figures():
    """What is late counts as delayed, and what never passes as lost."""
    attempts = (Attempt(0, HOST), Attempt(400, HOST))
    recipients = ("at-once@example.org", "late@example.org", "never@example.org")
    message = Message("any", False, "a@firm.example", recipients, attempts)

    def ask(attempt, message, recipient, instance):
        return recipient == "at-once@example.org" or (
            attempt.at == 400 and recipient == "late@example.org"
        )

    figures = Figures(play([message], ask))
    assert (figures.count, figures.delays, figures.lost) == (3, [400], 1)
    assert figures.delayed == pytest.approx(2 / 3)
    assert figures.through == pytest.approx(2 / 3)


def test_ours(messages):
    """By our rules nothing is lost, little is later than half an hour, and few bots pass."""
    found = play(messages, asker(Memory()))
    wanted = Figures([one for one in found if not one.bot])
    assert wanted.lost == 0
    assert wanted.quantile(0.99) // 60 <= 30
    assert wanted.delayed < 0.09
    early = [one for one in found if one.bot and "after ten minutes" not in one.kind]
    assert Figures(early).through == 0


def test_replies(messages):
    """With learn_replies nobody waits who answers a user of ours."""
    entries, settings = Memory(), Settings()

    def tell(at, user, other):
        request = {b"client_address": b"192.0.2.77", b"sasl_username": user.encode()}
        request |= {b"sender": user.encode(), b"recipient": other.encode()}
        decide(request, entries, settings, START + at, own=True)

    replies = [message for message in messages if message.kind == "reply"]
    assert Figures(play(replies, asker(Memory()))).delayed > 0.1
    assert Figures(play(replies, asker(entries, learn_replies="yes"), tell)).delayed == 0
