"""``greylist replay`` and ``explain`` on the log that a real Postfix writes."""

from __future__ import annotations

import json

import pytest

harness = pytest.importorskip("postfix_harness")

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]

MESSAGE = b"Subject: hello\r\n\r\nHello.\r\n"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Return the log of a Postfix that has deferred, delivered and refused."""
    with harness.Postfix(delay="300s") as postfix:
        mail = ("192.0.2.1", "ann@example.com", "you@example.org")
        assert postfix.attempt(*mail) == 450
        assert postfix.attempt("IPV6:2001:db8::1", "", "you@example.org") == 450
        assert postfix.attempt("192.0.2.1", "ann@example.com", "you@elsewhere.example") == 554
        assert postfix.attempt("192.0.2.1", '"john doe"@example.net', "you@example.org") == 450
        postfix.age(300)
        with postfix.client(mail[0], "mail.example.com") as smtp:
            assert smtp.sendmail(mail[1], [mail[2]], MESSAGE) == {}
        postfix.wait_for_log(r"postfix/qmgr\[\d+\]: \w+: removed")
        path = tmp_path_factory.mktemp("log") / "mail.log"
        path.write_text(postfix.log())
    return path


def test_deliveries_are_rebuilt_from_a_real_log(host, monkeypatch, log):
    """The deferral and the delivery are one; the refusal by another rule is none."""
    monkeypatch.undo()
    for delay, expected in (("0s", (3, 0, 0)), ("1h", (0, 1, 2))):
        host.configure(f"delay = {delay}")
        result = json.loads(host.run("replay", "--json", log).stdout)
        assert (result["attempts"], result["deliveries"]) == (4, 3)
        outcome = result["outcomes"][0]
        assert (outcome["at_once"], outcome["unknown"], outcome["open"]) == expected


def test_refusals_of_a_real_log_are_explained(host, log):
    """Each line about a refused recipient is a request."""
    text = log.read_text()
    lines = host.run("explain", "--json", input=text).stdout.splitlines()
    requests = [json.loads(line)["request"] for line in lines]
    assert [request["client_address"] for request in requests] == [
        "192.0.2.1",
        "2001:db8::1",
        "192.0.2.1",
        "192.0.2.1",
    ]
    assert requests[1]["sender"] == ""
    assert requests[3]["sender"] == r"john\x20doe@example.net"  # as the tables and the log show it


def test_the_refusal_of_a_real_relay_is_not_ours(host, log):
    """Postfix's words for mail that it does not relay are known, and greylist's are greylist's."""
    lines = host.run("explain", "--json", input=log.read_text()).stdout.splitlines()
    by = [json.loads(line)["refused_by"] for line in lines]
    assert by == ["", "", "Postfix itself", ""]
