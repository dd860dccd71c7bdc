"""``greylist explain``."""

from __future__ import annotations

import json
import re

import pytest
from settled import write

from greylist.commands.logs.pasted import attempts
from greylist.log import quote

from .mailhost import NOW

ASKED = [
    "--client-address",
    "192.0.2.1",
    "--sender",
    "Ann@example.com",
    "--recipient",
    "b@example.org",
]
LINE = (
    "Nov 22 10:00:00 mx postfix/smtpd[123]: NOQUEUE: reject: RCPT from mail.example.com[192.0.2.1]"
    "{port}: 450 4.2.0 <b@example.org>: Recipient address rejected: Service is temporarily "
    "unavailable; from=<Ann@example.com> to=<b@example.org> proto=ESMTP helo=<mail.example.com>\n"
)
REQUEST = (
    "request=smtpd_access_policy\nclient_address=192.0.2.1\nclient_name=mail.example.com\n"
    "sender=Ann@example.com\nrecipient=b@example.org\n\n"
)
OURS = (
    "2026-11-22T10:00:00.1+01:00 mx greylist[9]: action=greylist, reason=new, "
    "client_name=mail.example.com, client_address=192.0.2.1, sender=Ann@example.com, "
    "recipient=b@example.org\n"
)


def explained(host, *arguments, **options):
    return json.loads(host.run("explain", "--json", *arguments, **options).stdout)


def stored_by(host, request):
    """Let the real filter answer a request, and return what it said."""
    return host.script(input=request.encode()).stdout.decode()


@pytest.mark.parametrize(
    "given", [REQUEST, REQUEST.rstrip(), LINE.format(port=""), LINE.format(port=":2525"), OURS]
)
def test_a_request_is_read_in_every_form(host, given):
    """A request, a refusal in Postfix's log and a decision in ours mean the same."""
    host.put({})
    result = explained(host, input=given)
    assert result["request"]["client_address"] == "192.0.2.1"
    assert result["request"]["client_name"] == "mail.example.com"
    assert result["request"]["recipient"] == "b@example.org"
    assert result["reason"] == "new"
    assert result["passes"] == NOW + 300


def test_explaining_changes_nothing(host):
    """The database is the same before and after."""
    host.put({b"k/l/m": b"1/0/0"})
    before = host.all()
    explained(host, *ASKED)
    assert host.all() == before


def test_the_explanation_is_what_the_filter_does(host):
    """The filter, asked the same, answers and stores what was explained."""
    host.put({})
    result = explained(host, *ASKED)
    assert stored_by(host, REQUEST) == f"action={result['action']}\n\n"
    assert [key.decode() for key in host.all() if not key.startswith(b"/")] == [
        key for key in result["would_store"] if not key.startswith("/")
    ]


def test_an_early_retry_is_told_when_it_passes(host):
    """The time at which it passes counts from the first attempt that is stored."""
    host.put({})
    key = next(k for k in explained(host, *ASKED)["would_store"] if not k.startswith("/"))
    host.put({key.encode(): b"%d/0/0" % (NOW - 100)})
    result = explained(host, *ASKED)
    assert result["verdict"] == "greylist"
    assert result["passes"] == NOW + 200
    assert result["looked_up"][key] == f"{NOW - 100}/0/0"
    shown = host.run("explain", *ASKED).stdout
    assert re.search(r"^would pass +if tried again after 2027-01-15 08:03:20$", shown, re.MULTILINE)


def test_the_whitelist_line_that_matched_is_named(host):
    """File, line number and text of the pattern, and that the database was not asked."""
    write(host.whitelist, "# friends\n\n@example\\.com/\n")
    result = explained(host, *ASKED)
    assert result["verdict"] == "pass"
    assert result["whitelist"] == f"{host.whitelist}:3: @example\\.com/"
    assert result["looked_up"] == {}


def test_a_login_and_a_pool_are_shown(host):
    """Who has logged in is named, and the digest of a pool's key is printable."""
    host.put({})
    line = LINE.format(port="").rstrip() + " sasl_method=PLAIN sasl_username=ann sasl_sender=x\n"
    shown = host.run("explain", input=line).stdout
    assert re.search(r"^request .* login=ann$", shown, re.MULTILINE)
    assert re.search(r"^pool +[0-9a-f]{16,}: not there$", shown, re.MULTILINE)


SQLGREY = {
    "grey: new: 192.0.2(192.0.2.1), a@example.com -> b@example.org": b"a@example.com",
    "grey: early reconnect: 192.0.2(192.0.2.1), a@example.com -> b@example.org": b"a@example.com",
    "grey: reconnect ok: 192.0.2(192.0.2.1), a b@example.com -> b@example.org (00:05:23)": (
        b"a b@example.com"
    ),
    "grey: throttling: 192.0.2.1(192.0.2.1), -undef-@-undef- -> b@example.org": b"",
    "whitelist: joe@-undef-, 192.0.2.1(mail.example.com) -> b@example.org": b"joe",
}


@pytest.mark.parametrize("text", SQLGREY)
def test_lines_of_sqlgrey(text):
    """Sqlgrey's own lines about its decisions are requests, like postgrey's."""
    [pasted] = attempts([b"Nov  2 10:00:00 mx sqlgrey: " + text.encode()])
    assert pasted.decided
    assert pasted.request[b"client_address"] == b"192.0.2.1"
    assert pasted.request[b"sender"] == SQLGREY[text]
    assert pasted.request[b"recipient"] == b"b@example.org"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("(\n", ["Warning: nogreylist:1: missing ), "]),
        (
            "a@example\\.com\n(\nclient_name=unknown\nsender=.*\n",
            ["Warning: the lists have 3 lines that are left out,", "first one is nogreylist:2:"],
        ),
    ],
)
def test_mistakes_in_a_list_are_one_line(host, lines, said):
    """What a filter would log of each line of the lists is one sentence for a person."""
    host.put({})
    write(host.whitelist, lines)
    for command in (["explain", *ASKED], ["explain", "--json", *ASKED]):
        shown = host.run(*command).stderr
        assert [words for words in said if words not in shown] == []
        assert shown.count("\n") == 1
        assert "(greylist check looks at each line)" in shown


def test_without_a_database_it_counts_as_empty(host):
    """Before the first request there is an answer already, and no database afterwards."""
    result = host.run("explain", *ASKED)
    assert "counts as empty" in result.stderr
    assert "answer" in result.stdout
    assert not host.database.exists()


def test_a_value_is_taken_as_the_log_shows_it(host):
    """An option's value may be copied from the log or a list, escapes included."""
    asked = [
        "--client-address=192.0.2.1",
        r"--sender=a\x20b@example.com",
        "--recipient=b@example.org",
    ]
    result = explained(host, *asked)
    assert result["request"]["sender"] == r"a\x20b@example.com"
    [key] = result["would_store"]
    assert r"/a\x20b@example.com/" in key


@pytest.mark.parametrize("given", ["\n\n", "client=mail.example.com[192.0.2.1]\n", "a=b\n\nc=d\n"])
def test_no_request_is_an_error(host, given):
    """Exit status 1, and a word on standard error."""
    said = host.run("explain", code=1, input=given).stderr
    assert "no request" in said
    assert given.strip().partition("\n")[0] in said


def test_what_a_request_needs(host):
    """Without a client or a recipient there is nothing to explain."""
    assert "are needed" in host.run("explain", "--sender", "a@example.com", code=2).stderr


SCREENED = (
    "Nov 22 10:00:00 mx postfix/postscreen[9]: NOQUEUE: reject: RCPT from [192.0.2.1]:4711: "
    "450 4.3.2 Service currently unavailable; from=<ann@example.com>, to=<b@example.org>, "
    "proto=ESMTP, helo=<mail.example.com>\n"
)
WARNED = LINE.format(port="").replace("reject:", "reject_warning:")


@pytest.mark.parametrize("line", [SCREENED, WARNED])
def test_other_refusals(host, line):
    """Lines of postscreen, and of refusals that are only warned of, are read like the others."""
    host.put({})
    asked = explained(host, input=line)["request"]
    assert (asked["client_address"], asked["recipient"]) == ("192.0.2.1", "b@example.org")
    assert asked["sender"].lower() == "ann@example.com"
    assert asked["helo_name"] == "mail.example.com"


def test_an_address_as_the_log_has_it(host):
    """What the log escapes is read back, and a comma ends nothing."""
    sender = b'"a b, recipient=c\xff"@example.com'
    line = OURS.replace("Ann@example.com", quote(sender))
    host.put({b"192.0.2.0/" + sender + b"/b@example.org": b"%d/0/0" % (NOW - 10)})
    host.configure("normalize_sender = no")
    assert explained(host, input=line)["reason"].startswith("early-retry")


def test_a_reply_is_shown_as_it_was_sent(host):
    """From a line of the log too, the answer has the status code that Postfix got."""
    host.put({})
    action = explained(host, input=LINE.format(port=""))["action"]
    assert action == "defer_if_permit 4.2.0 Service is temporarily unavailable"


REFUSED = (
    "Nov 22 10:00:00 mx postfix/{agent}[123]: NOQUEUE: reject: RCPT from mail.example.com"
    "[192.0.2.1]: {reply}; from=<ann@example.com> to=<b@example.org> proto=ESMTP helo=<m>\n"
)


@pytest.mark.parametrize(
    ("line", "by"),
    [
        (REFUSED.format(agent="smtpd", reply="550 5.7.25 Client host rejected: cannot find your "
                        "hostname, [192.0.2.1]"), "Postfix itself"),
        (REFUSED.format(agent="smtpd", reply="454 4.7.1 <b@example.org>: Relay access denied"),
         "Postfix itself"),
        (REFUSED.format(agent="smtpd", reply="554 5.7.1 Service unavailable; Client host "
                        "[192.0.2.1] blocked using zen.spamhaus.org; https://example.org"),
         "the blocklist zen.spamhaus.org"),
        (SCREENED, "postscreen"),
        (REFUSED.format(agent="smtpd", reply="451 4.7.1 Greylisting in action").replace(
            "reject:", "milter-reject:"), "a milter"),
        (REFUSED.format(agent="smtpd", reply="554 5.7.1 <b@example.org>: Recipient address "
                        "rejected: go away"), "an access table or another policy service"),
        (REFUSED.format(agent="smtpd", reply="450 4.2.0 <b@example.org>: Recipient address "
                        "rejected: Greylisted, see postgrey"), "another policy service"),
        (LINE.format(port=""), ""),
    ],
)  # fmt: skip
def test_whose_refusal_it_was(host, line, by):
    """A refusal that is not greylist's is called somebody else's."""
    host.put({})
    result = explained(host, input=line)
    assert result["refused_by"].startswith(by)
    assert bool(result["refused_by"]) == bool(by)
    shown = host.run("explain", input=line).stdout
    assert ("refused" in shown) == bool(by)


def test_two_lines_about_one_attempt(host):
    """Postfix's line and the policy service's are one request; those of a retry are another."""
    host.put({})
    own = OURS.replace("2026-11-22T10:00:00.1+01:00", "Nov 22 10:{}:00")
    pasted = "".join(
        line.replace("10:00:00", f"10:{minute}:00").format(minute, port="")
        for minute in ("00", "07")
        for line in (own, LINE)
    )
    lines = host.run("explain", "--json", input=pasted).stdout.splitlines()
    assert len(lines) == 2
    assert [json.loads(line)["request"]["helo_name"] for line in lines] == ["mail.example.com"] * 2


def test_a_login_is_seen(host):
    """Postfix 3.10 logs who had logged in; a line of the whitelist can name the login."""
    host.whitelist.write_text("sasl_username ~ ^ann@\n")
    line = LINE.format(port="").rstrip() + " sasl_method=PLAIN sasl_username=ann@example.org\n"
    assert explained(host, input=line)["request"]["sasl_username"] == "ann@example.org"


def test_a_quoted_address_is_that_of_the_triplet(host):
    """The log has quotes around a local part, and the request has none."""
    line = LINE.format(port="").replace("<Ann@example.com>", '<"john doe"@example.net>')
    host.put({b"192.0.2.0/john doe@example.net/b@example.org": b"%d/0/0" % (NOW - 10)})
    assert explained(host, input=line)["reason"].startswith("early-retry")


def test_postgrey_has_a_network(host):
    """With client_address=192.0.2.1/32, the client is that address."""
    host.put({})
    line = OURS.replace("192.0.2.1", "192.0.2.1/32").replace("greylist[9]", "postgrey[9]")
    assert explained(host, input=line)["request"]["client_address"] == "192.0.2.1"


def test_a_refusal_before_any_recipient(host):
    """Where greylist is not asked, only the refusal is shown, and no advice about requests."""
    line = REFUSED.format(agent="smtpd", reply="554 5.7.1 Service unavailable; Client host "
                          "[192.0.2.1] blocked using zen.spamhaus.org")  # fmt: skip
    line = line.replace("RCPT from", "CONNECT from").partition(" from=<")[0] + " proto=SMTP\n"
    shown = host.run("explain", input=line).stdout
    assert [row.split()[0] for row in shown.splitlines()] == ["request", "refused"]
