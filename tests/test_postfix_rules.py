"""Pools, headers, replies and modes with a real Postfix."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

harness = pytest.importorskip("postfix_harness")

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]

README = (Path(__file__).parent.parent / "README.md").read_text()
MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"
RECIPIENTS = ["one@example.org", "two@example.org", "three@example.org"]


@pytest.fixture(scope="module")
def postfix():
    checks = {"header_checks": "regexp:{ {/^X-Greylist:/ WARN} }"}
    settings = {"header": "yes", "hostname": "mx.example.org", "reply": "%s s, %r, %c"}
    with harness.Postfix(main=checks, **settings) as running:
        yield running


def test_a_message_from_a_pool(postfix):
    """Retried from elsewhere in the pool, a message to three is let through, with one header."""
    with postfix.client("198.51.100.1", "mail-a1.google.com") as smtp:
        smtp.mail("joe@example.com")
        replies = [smtp.rcpt(recipient) for recipient in RECIPIENTS]
    assert [code for code, _ in replies] == [450, 450, 450]
    assert b"4.2.0 <one@example.org>" in replies[0][1]
    assert replies[0][1].endswith(b": 300 s, example.org, 198.51.100.1")
    postfix.age(400)
    with postfix.client("203.0.113.9", "mail-b7.google.com") as smtp:
        assert smtp.sendmail("joe@example.com", RECIPIENTS, MESSAGE) == {}
    postfix.wait_for_log(r"to=<three@example\.org>.*status=sent")
    headers = [line for line in postfix.log().splitlines() if "header X-Greylist:" in line]
    assert len(headers) == 1
    assert "X-Greylist: delayed 40" in headers[0]
    assert " at mx.example.org; " in headers[0]


def test_only_some_are_greylisted():
    """README's restriction class: only the clients that a table names wait."""
    section = README.partition("### Greylisting only some")[2]
    blocks = re.findall(r"```\n(.*?)```", section, re.DOTALL)
    postfix = harness.Postfix()
    etc = postfix.directory / "etc"
    harness.as_root("tee", etc / "greylisted", input=blocks[1])
    main = blocks[0].replace("/etc/postfix/", f"{etc}/")
    harness.as_root("tee", "-a", etc / "main.cf", input=main)
    with postfix:

        def code(name: str) -> int:
            with postfix.client("192.0.2.1", name) as smtp:
                smtp.mail("a@example.com")
                return smtp.rcpt("b@example.org")[0]

        assert code("mail.example.net") == 250
        assert [code("[UNAVAILABLE]"), code("dyn-12.example.net")] == [450, 450]
        assert code("mail.example.net") == 250


def test_modes_under_an_open_connection(postfix):
    """An edit of the settings switches a filter that is connected already."""
    with postfix.client("192.0.2.1") as smtp:

        def code(sender):
            smtp.rset()
            smtp.mail(sender)
            return smtp.rcpt("jane@example.org")[0]

        assert code("a@example.com") == 450
        before = postfix.filters()
        postfix.configure(mode="off")
        assert code("a@example.com") == 250
        postfix.configure(mode="learn")
        assert code("b@example.com") == 250
        postfix.configure(mode="sometimes")
        assert code("c@example.com") == 250
        postfix.configure()
        assert [code("b@example.com"), code("d@example.com")] == [450, 450]
        assert postfix.filters() == before
