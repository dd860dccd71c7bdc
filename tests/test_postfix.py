"""End to end: SMTP clients, a real Postfix, the filter under spawn(8)."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from postfix_harness import Postfix, unavailable

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(unavailable()), reason=unavailable()),
]

DELAY = 300
MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module")
def postfix():
    with Postfix(delay=f"{DELAY}s") as running:
        running.whitelist.write_text("^198[.]51[.]100[.]\n")
        yield running


def test_a_mail_is_deferred_until_the_delay_is_over(postfix):
    """The first attempt and an early retry get 450; a retry after the delay is delivered."""
    mail = ("192.0.2.1", "first@example.com", "you@example.org")
    with postfix.client(mail[0], "mail.example.com") as smtp:
        smtp.mail(mail[1])
        code, text = smtp.rcpt(mail[2])
        assert (code, text.endswith(b"Service is temporarily unavailable")) == (450, True)
    assert postfix.attempt(*mail) == 450
    postfix.age(DELAY)
    with postfix.client(mail[0], "mail.example.com") as smtp:
        assert smtp.sendmail(mail[1], mail[2], MESSAGE) == {}
    postfix.wait_for_log(r"postfix/discard\[.*to=<you@example\.org>.*status=sent")
    assert postfix.attempt(*mail) == 250
    assert postfix.warnings() == []


def test_a_whitelisted_client_passes_at_once(postfix):
    """A client that the whitelist names is never deferred."""
    with postfix.client("198.51.100.1") as smtp:
        assert smtp.sendmail("listed@example.com", "listed@example.org", MESSAGE) == {}
    postfix.wait_for_log(r"postfix/discard\[.*to=<listed@example\.org>.*status=sent")
    assert postfix.warnings() == []


@pytest.mark.parametrize(
    ("address", "sender"),
    [("192.0.2.2", ""), ("IPV6:2001:db8::1", "six@example.com")],
    ids=["null sender", "IPv6"],
)
def test_any_kind_of_mail_is_greylisted(postfix, address, sender):
    """The null sender and IPv6 are greylisted like any other."""
    assert postfix.attempt(address, sender, "you@example.org") == 450
    postfix.age(DELAY)
    assert postfix.attempt(address, sender, "you@example.org") == 250
    assert postfix.warnings() == []


def test_an_internationalized_sender_is_greylisted(postfix):
    """An address in UTF-8 (RFC 6531) is an address."""
    for code in (450, 250):
        with postfix.client("192.0.2.3") as smtp:
            smtp.command_encoding = "utf-8"
            assert smtp.mail("jürgen@example.com", ["SMTPUTF8"])[0] == 250
            assert smtp.rcpt("you@example.org")[0] == code
        postfix.age(DELAY)
    assert postfix.warnings() == []


def test_one_filter_serves_a_session(postfix):
    """Postfix keeps its connection to the filter from one recipient to the next."""
    with postfix.client("192.0.2.4") as smtp:
        smtp.mail("many@example.com")
        assert smtp.rcpt("0@example.org")[0] == 450
        before = postfix.filters()
        # Nine errors: at ten, Postfix slows down.
        codes = {smtp.rcpt(f"{number}@example.org")[0] for number in range(1, 9)}
        assert codes == {450}
        assert set(postfix.filters()) <= set(before)
    assert postfix.warnings() == []


def test_twenty_sessions_at_once(postfix):
    """Twenty clients at once each get their own answers, each from a filter of its own."""
    together = Barrier(20)

    def session(number: int) -> tuple[int, int]:
        with postfix.client(f"203.0.113.{number}") as smtp:
            smtp.mail("crowd@example.com")
            together.wait(60)
            code = smtp.rcpt(f"{number}@example.org")[0]
            together.wait(60)
            return code, len(postfix.filters())

    with ThreadPoolExecutor(20) as pool:
        first = list(pool.map(session, range(20)))
        postfix.age(DELAY)
        second = list(pool.map(session, range(20)))
    assert [code for code, _ in first] == [450] * 20
    assert [code for code, _ in second] == [250] * 20
    assert max(filters for _, filters in first) >= 20
    assert postfix.warnings() == []


def test_a_broken_filter_fails_open_and_says_nothing_on_the_wire():
    """What a filter says of its broken settings is no answer: Postfix's default_action is."""
    with Postfix() as postfix:
        postfix.configure(delay="soon")
        with socket.create_connection(("127.0.0.1", postfix.policy_port), 60) as connection:
            assert connection.recv(4096) == b""
        assert postfix.attempt("192.0.2.1", "a@example.com", "b@example.org") == 250
        postfix.wait_for_log("warning: problem talking to server private/greylist")
        trouble = [line for line in postfix.warnings() if "spawn" not in line]
        assert all("problem talking to server private/greylist" in line for line in trouble)


def test_the_filters_end_with_postfix():
    """A filter ends when Postfix is stopped."""
    with Postfix() as postfix, postfix.client("192.0.2.1") as smtp:
        smtp.mail("a@example.com")
        assert smtp.rcpt("b@example.org")[0] == 450
        filters = postfix.filters()
        assert len(filters) == 1
        postfix.stop()
        end = time.monotonic() + 30
        while any(Path(f"/proc/{pid}").exists() for pid in filters):
            assert time.monotonic() < end
            time.sleep(0.01)
