"""Pools, headers, replies and modes with a real Postfix."""

from __future__ import annotations

import re

import pytest

harness = pytest.importorskip("postfix_harness")

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]

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


@pytest.mark.parametrize("count", [30, 60])
def test_many_recipients(postfix, count):
    """A new client's message is through to all at the second attempt, whatever Postfix's limits.

    Each deferred recipient is an error to Postfix: at the twentieth it hangs up with 421.
    """
    sender = f"many-{count}@example.com"
    recipients = [f"r{number}@example.org" for number in range(count)]
    codes = []
    with postfix.client("192.0.2.77") as smtp:
        smtp.mail(sender)
        while not codes or codes[-1] == 450:
            codes.append(smtp.rcpt(recipients[len(codes)])[0])
    assert codes == [450] * 19 + [421] or codes == [450] * 20 + [421]
    postfix.age(400)
    with postfix.client("192.0.2.77") as smtp:
        assert smtp.sendmail(sender, recipients, MESSAGE) == {}


SPELLINGS = [
    "b@example.org", "B@Example.ORG", "b@example.org.", "b%example.org@example.org",
    "b%example.org@white.example", "example.org!b@white.example", "b@[127.0.0.1]", "b",
    '"b@example.org"@white.example', "@white.example:b@example.org", "b+x@example.org",
    "@white.example:@white.example:@white.example:@white.example:b@example.org",
]  # fmt: skip


def test_no_spelling_escapes_a_list():
    """Whatever Postfix delivers to b@example.org waits as the lists have it for that address."""
    main = {"mydestination": "example.org, white.example", "myorigin": "example.org"}
    lists = {"recipient_delimiter": "+", "maximal_queue_lifetime": "1d"}
    with harness.Postfix(main=main | lists) as postfix:
        (postfix.directory / "only").write_text("b@example.org\n")
        (postfix.directory / "white").write_text("white.example\npostmaster@\n")
        named = {"only": "greylist_recipients", "white": "whitelist_recipients"}

        def code(recipient):
            with postfix.client("192.0.2.1") as smtp:
                smtp.mail("a@example.com")
                return smtp.docmd("RCPT", f"TO:<{recipient}>")[0]

        for file, setting in named.items():
            postfix.configure(**{setting: str(postfix.directory / file)})
            assert {text: code(text) for text in SPELLINGS} == dict.fromkeys(SPELLINGS, 450)
        assert code("somebody@white.example") == 250
        postfix.configure(mode="off")
        with postfix.client("192.0.2.1") as smtp:
            smtp.mail("a@example.com")
            assert {smtp.docmd("RCPT", f"TO:<{text}>")[0] for text in SPELLINGS} == {250}
            smtp.data(MESSAGE)
        for text in SPELLINGS:
            postfix.wait_for_log(
                rf"(?i)to=<b(?:[+]x)?@[^>]*>(?:, orig_to=<{re.escape(text)}>)?.*status=sent"
            )
        log = postfix.log()
    local = re.findall(r" to=<([^>]*)>.*status=sent", log)
    delivered = {"b@example.org", "b+x@example.org", "b@[127.0.0.1]"}
    assert {address.lower() for address in local} <= delivered


def test_no_local_domain_escapes_a_list():
    """The filter asks Postfix which domains are local, and what parts an extension."""
    main = {"mydestination": "$mydomain, $myhostname, localhost", "recipient_delimiter": "-"}
    export = "GREYLIST_CONFIG={0}/greylist.cf MAIL_CONFIG LD_LIBRARY_PATH={0}/python/lib"
    postfix = harness.Postfix(main=main)
    only, file = postfix.directory / "only", postfix.directory / "etc" / "main.cf"
    text = f"mydomain = example.org\nexport_environment = {export.format(postfix.directory)}\n"
    harness.as_root("tee", "-a", file, input=text)
    only.write_text("b@example.org\n")
    postfix.configure(greylist_recipients=str(only))
    with postfix:

        def code(recipient):
            with postfix.client("192.0.2.1") as smtp:
                smtp.mail("a@example.com")
                return smtp.docmd("RCPT", f"TO:<{recipient}>")[0]

        for recipient in "b@localhost", "b@mail.example.org", "b-x@example.org", "b%localhost":
            assert code(recipient) == 450, recipient
        assert code("c@mail.example.org") == 250


def test_a_service_in_two_lists():
    """Asked in two lists about each RCPT, the filter counts one attempt and answers once."""
    twice = f"reject_unauth_destination, {harness.POLICY}"
    main = {
        "smtpd_sender_restrictions": f"warn_if_reject, {harness.POLICY}",
        "smtpd_recipient_restrictions": twice,
    }
    with harness.Postfix(main=main) as postfix:
        with postfix.client("192.0.2.1") as smtp:
            smtp.mail("a@example.com")
            assert [smtp.rcpt(f"{user}@example.org")[0] for user in "bc"] == [450, 450]
        postfix.wait_for_log("reject_warning")
        dump = harness.as_root(
            "env",
            f"LD_LIBRARY_PATH={postfix.directory}/python/lib",
            postfix.bin / "greylist",
            "--config",
            postfix.directory / "greylist.cf",
            "dump",
        ).stdout
        triplets = [line for line in dump.splitlines() if line.startswith("192.0.2.0/")]
        assert len(triplets) == 2
        assert all(line.endswith("/0/0") for line in triplets)
        postfix.age(400)
        assert postfix.attempt("192.0.2.1", "a@example.com", "b@example.org") == 250


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
        # What was let through while learning has passed.
        assert [code("b@example.com"), code("d@example.com")] == [250, 450]
        assert postfix.filters() == before
