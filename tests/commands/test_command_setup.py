"""``greylist setup``: on scratch files, and with a real Postfix that had never heard of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time

import postfix_harness
import pytest
from readable import as_root

from greylist.commands.postfix.restrictions import policy_call, restrictions
from greylist.commands.setup.postfix import is_ours
from greylist.commands.setup.restriction import FRESH, CannotTell, asks, inserted, without

from .postfix_files import user
from .setup_host import MASTER, needs_postconf

RELAY = ["permit_mynetworks", "permit_sasl_authenticated", "defer_unauth_destination"]
OVERRIDE = """\
smtp inet n - y - - smtpd
  -o smtpd_recipient_restrictions=reject_unauth_destination
submission inet n - y - - smtpd
  -o smtpd_recipient_restrictions=reject
"""
CALL = policy_call("unix:private/greylist")
ASK = f"check_policy_service {CALL}"


def test_a_list_of_its_own():
    """A host without a list gets README.md's; whom its relay list permits is not asked about."""
    assert inserted("", RELAY, CALL) == " ".join([*FRESH, "reject_unlisted_recipient", ASK])
    relay = ["permit_mynetworks", "permit_tls_clientcerts", "reject_unauth_destination"]
    assert inserted("", relay, CALL) == " ".join([*relay, "reject_unlisted_recipient", ASK])


@pytest.mark.parametrize(
    "text",
    [
        "reject_unauth_destination|",
        "reject_unauth_destination,  reject_unlisted_recipient,reject_rbl_client x.example|,",
        "reject_unauth_destination, |permit",
        "reject_unauth_destination, |permit, reject_rbl_client x.example",
        "permit_mynetworks |reject",
        "reject_unauth_destination warn_if_reject reject reject_rbl_client y.example|",
        "check_client_access inline:{ {192.0.2.1 = ok} }, reject_unauth_destination|",
        "check_sender_access inline:{a={b c}} reject_unauth_destination|",
        "check_recipient_access hash:$config_directory/r, reject_unauth_destination|",
        "hash:${config_directory}/r reject_unauth_destination check_client_access $x|",
        "reject_unauth_destination, check_policy_service { inet:[::1]:1, timeout=3s }, |reject",
    ],
)
def test_the_place(text):
    """The call stands behind all that may refuse and before the end; nothing else is touched."""
    before, _, after = text.partition("|")
    for call in (CALL, "unix:private/greylist"):
        found = inserted(before + after, RELAY, call)
        words = f"check_policy_service {call}"
        assert found.startswith(before)
        assert found.endswith(after)
        assert found[len(before) : len(found) - len(after)].strip(" ,") == words
        assert restrictions(found).index(call) == len(restrictions(before)) + 1
        assert without(found, asks(found, is_ours)) == before + after


@pytest.mark.parametrize(
    ("text", "relay", "words"),
    [
        ("", "permit_mynetworks", "refuses nobody"),
        ("permit_mynetworks", "permit_mynetworks", "reject_unauth_destination"),
        ("permit, reject_unauth_destination", "permit_mynetworks", "reject_unauth_destination"),
        ("warn_if_reject, reject_unauth_destination", "", "reject_unauth_destination"),
        ("$mine, reject_unauth_destination", "", "other parameters"),
        ("reject_unauth_destination ${mine?permit}", "", "other parameters"),
        ("permit_auth_destination, reject", "", "permit_auth_destination"),
        (
            "reject_unauth_destination, permit, reject_unlisted_recipient",
            "",
            "stands behind permit",
        ),
    ],
)
def test_no_certain_place(text, relay, words):
    """Where the place is not certain, that is said."""
    with pytest.raises(CannotTell, match=words):
        inserted(text, relay.replace(",", "").split(), CALL)


def test_an_endpoint_of_ours():
    """``local:`` is ``unix:`` to Postfix, so a list that has it asks already."""
    text = "reject_unauth_destination, check_policy_service local:private/greylist"
    assert asks(text, is_ours) == 1
    assert asks(text.replace("local:", "inet:"), is_ours) is None


def value(mx, name, option="-h"):
    """Return what postconf says."""
    return mx.postconf(option, name).strip()


@needs_postconf
def test_there_and_back(mx):
    """A dry run changes nothing, a second run neither, and --remove gives the files back."""
    mx.write("smtpd_relay_restrictions = " + ", ".join(RELAY))
    before = mx.state()
    shown = mx.setup("--dry-run")
    assert f"write {mx.host.whitelist}" in shown
    assert mx.state() == before
    assert shown.count("would do") >= 5
    mx.host.whitelist.write_text("# ours\n")
    told = mx.setup()
    assert mx.host.whitelist.read_text() == "# ours\n"
    assert "0 errors" in told
    # Each change had been shown.
    shown = [line for line in re.findall("(?m)^would do  +(.*)", shown) if "nogrey" not in line]
    assert re.findall("(?m)^do  +(.*)", told) == shown
    assert value(mx, "smtpd_recipient_restrictions").endswith(f"reject_unlisted_recipient {ASK}")
    after = mx.state()
    assert "nothing was changed" in mx.setup()
    assert mx.state() == after
    mx.setup("--remove")
    assert value(mx, "smtpd_recipient_restrictions", "-n") == ""
    assert {name: text.split() for name, text in mx.state().items() if name in before} == {
        name: text.split() for name, text in before.items()
    }
    assert "nothing was changed" in mx.setup("--remove")


@needs_postconf
@pytest.mark.parametrize(
    ("main", "master", "place"),
    [
        ("mine = reject_unauth_destination\nsmtpd_recipient_restrictions = $mine", MASTER, "mine"),
        (
            "",
            OVERRIDE,
            "smtp/inet/smtpd_recipient_restrictions",
        ),
    ],
)
def test_the_list_in_force(mx, main, master, place):
    """The list that strangers meet is changed, wherever it is written."""
    mx.write(main, master)
    mx.setup(code=None)
    written = value(mx, place, "-P" if "/" in place else "-h")
    assert (
        ASK.replace(", ", " ").split()
        == re.sub(r"([{}])", r" \1 ", written).replace(",", " ").split()[-6:]
    )


@needs_postconf
@pytest.mark.parametrize(
    ("main", "master", "words"),
    [
        (
            "",
            OVERRIDE + "2525 inet n - y - - smtpd\n",
            "cannot tell which",
        ),
        ("smtpd_relay_restrictions = permit_mynetworks\nsmtpd_recipient_restrictions = permit",
         MASTER, "reject_unauth_destination"),
        ("smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:10023",
         MASTER, "--from postgrey"),
    ],
)  # fmt: skip
def test_refusals(mx, main, master, words):
    """Where it cannot tell, it says so, and changes nothing at all."""
    mx.write(main, master)
    before = mx.state()
    assert words in mx.setup(code=1)
    assert mx.state() == before


@needs_postconf
def test_no_link_in_the_place_of_the_directory(mx):
    """A link that somebody has put where the directory is made leads to no other directory."""
    mx.write("smtpd_recipient_restrictions = reject_unauth_destination")
    other, directory = mx.host.path / "other", mx.host.database.parent
    other.mkdir(0o750)
    directory.with_name(f"{directory.name}.new").symlink_to(other)
    before = os.stat(other)
    assert f"{directory}.new" in mx.setup(code=1)
    assert os.stat(other) == before
    assert not os.path.lexists(directory)


@needs_postconf
def test_serve(mx, program):
    """The server's units are written; without systemd, what is to be started is said."""
    if os.path.isdir("/run/systemd/system"):
        pytest.fail("is not to be tried where systemd runs: it would start the unit")
    mx.write(
        f"queue_directory = {mx.host.path}/queue\nsmtpd_relay_restrictions = {', '.join(RELAY)}"
    )
    told = mx.setup("--serve", code=None)
    assert f"greylist serve --listen unix:{mx.host.path}/queue/private/greylist" in told
    assert f"User={user()}" in (mx.host.path / "greylist.service").read_text()
    assert f"ListenStream={mx.host.path}/queue" in (mx.host.path / "greylist.socket").read_text()
    # Nobody listens: Postfix is not told to ask.
    assert value(mx, "smtpd_recipient_restrictions") == ""
    path = mx.host.path / "queue" / "private" / "greylist"
    path.parent.mkdir(parents=True)
    command = [program, "--config", mx.host.config, "--listen", f"unix:{path}", "serve"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        told = mx.setup("--serve")
        server.terminate()
    assert "\n0 errors" in told
    assert ASK in value(mx, "smtpd_recipient_restrictions")
    mx.setup("--remove")
    assert not (mx.host.path / "greylist.socket").exists()


@pytest.mark.postfix
@pytest.mark.root
@pytest.mark.skipif(bool(postfix_harness.unavailable()), reason=postfix_harness.unavailable())
def test_a_running_postfix():
    """A Postfix that runs defers the first attempt after setup, and the retry passes."""
    instance = postfix_harness.Postfix()
    etc, program = instance.directory / "etc", instance.bin / "greylist"
    postconf = shutil.which("postconf") or "/usr/sbin/postconf"
    config = instance.directory / "greylist.cf"
    for arguments in (
        ["-X", "smtpd_recipient_restrictions", "greylist_time_limit"],
        ["-MX", "greylist/unix", f"127.0.0.1:{instance.policy_port}/inet"],
        ["smtpd_relay_restrictions=permit_mynetworks, reject_unauth_destination"],
        ["mynetworks=127.0.0.2/32"],
    ):
        as_root(postconf, "-c", etc, *arguments)
    setup = [program, "--config", config, "setup", "--user", "nobody", "--postfix", etc]
    triplet = ("192.0.2.1", "a@example.com", "b@example.org")
    with instance:
        assert instance.attempt(*triplet) == 250
        done = as_root(*setup, check=False)
        assert not done.returncode, done.stdout + done.stderr
        assert instance.attempt(*triplet) == 450
        instance.age(301)
        assert instance.attempt(*triplet) == 250
        as_root(*setup, "--remove")
        assert instance.attempt("198.51.100.1", *triplet[1:]) == 250
        assert not re.search(r"fatal|panic", instance.log())
