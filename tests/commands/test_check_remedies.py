"""Break it, read the remedy of ``greylist check``, run it, and check again: all is well."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from .mailhost import NOW
from .postfix_files import GOOD, Spawner, postfix
from .test_command_check import sound  # noqa: F401 - a fixture

CALL = f"check_policy_service {GOOD['call']}"
SHORT = "check_policy_service unix:private/greylist"
OVER = "smtpd_recipient_restrictions="
FIRST = "permit_mynetworks, reject_unlisted_recipient, reject_unauth_destination"


def wrong(host):
    """Return what is not well."""
    result = host.run("check", "--json", "--postfix", host.path / "postfix", code=None)
    return [f for f in json.loads(result.stdout)["findings"] if f["level"] != "ok"]


def rewrite(host, main=(), master=None, **changes):
    """Write Postfix's files with other lines in them."""
    postfix(host, host.program, **changes)
    path = host.path / "postfix" / "main.cf"
    path.write_text(path.read_text() + "".join(f"{line}\n" for line in main))
    if master is not None:
        path = host.path / "postfix" / "master.cf"
        lines = path.read_text().splitlines()
        path.write_text("\n".join([*master, *lines[1:]]) + "\n")


RECIPIENT = "smtpd_recipient_restrictions = "
CASES = {
    "own users wait": ({"main": [RECIPIENT + f"reject_unlisted_recipient, {CALL}"]}, 1),
    "own users with a login": (
        {"main": ["smtpd_sasl_auth_enable = yes"]},
        1,
    ),
    "unknown users are stored": ({"main": [RECIPIENT + f"permit_mynetworks, {CALL}"]}, 1),
    "permit_auth_destination": (
        {"main": [RECIPIENT + f"{FIRST}, permit_auth_destination, {CALL}"]},
        1,
    ),
    "permit": ({"main": [RECIPIENT + f"{FIRST}, permit, {CALL}"]}, 1),
    "a table of one answer": (
        {"main": [RECIPIENT + f"{FIRST}, check_client_access static:ok, {CALL}"]},
        1,
    ),
    "warn_if_reject": ({"main": [RECIPIENT + f"{FIRST}, warn_if_reject {CALL}"]}, 1),
    "warn_if_reject before a class": (
        {
            "main": [
                "smtpd_restriction_classes = ours",
                f"ours = {CALL}",
                RECIPIENT + f"{FIRST}, warn_if_reject ours",
            ]
        },
        1,
    ),
    "open relay": ({"main": [RECIPIENT + f"permit_mynetworks, {CALL}"], "relay": "permit"}, 2),
    "relay last": (
        {
            "main": [
                RECIPIENT + f"permit_mynetworks, reject_unlisted_recipient, {CALL}",
                "smtpd_relay_before_recipient_restrictions = no",
            ]
        },
        1,
    ),
    "nothing asks": ({"main": [RECIPIENT + FIRST]}, 1),
    "only a warning": (
        {"main": [RECIPIENT + f"{FIRST}, {SHORT}"]},
        2,
    ),
    "in sender restrictions": (
        {"main": [RECIPIENT + FIRST, f"smtpd_sender_restrictions = {CALL}"]},
        1,
    ),
    "without delay_reject": (
        {
            "main": [
                RECIPIENT + FIRST,
                f"smtpd_helo_restrictions = {CALL}",
                "smtpd_delay_reject = no",
            ]
        },
        1,
    ),
    "at data": ({"main": [RECIPIENT + FIRST, f"smtpd_data_restrictions = {CALL}"]}, 1),
    "overridden": (
        {"master": [f"smtp inet n - n - - smtpd -o {OVER}permit_mynetworks,reject"]},
        1,
    ),
    "overridden by a name": (
        {
            "main": ["mua = permit_sasl_authenticated, reject"],
            "master": [f"smtp inet n - n - - smtpd -o {OVER}$mua"],
        },
        1,
    ),
    "behind postscreen": (
        {
            "master": [
                "smtp inet n - n - 1 postscreen",
                f"smtpd pass - - n - - smtpd -o {OVER}reject_unauth_destination",
            ]
        },
        1,
    ),
    "only submission asks": (
        {
            "main": [RECIPIENT + FIRST],
            "master": [
                "smtp inet n - n - - smtpd",
                f"submission inet n - n - - smtpd -o {{ {RECIPIENT}{SHORT} }}",
            ],
        },
        1,
    ),
    "no smtpd": ({"master": []}, 1),
    "chroot": ({"chroot": "y"}, 1),
    "limits": ({"limit": "7", "time": "60"}, 2),
}


@pytest.mark.parametrize("name", CASES)
def test_each_remedy_mends(sound, name):  # noqa: F811
    """Each mistake in main.cf and master.cf is found; its remedy, typed as it stands, mends it."""
    changes, number = CASES[name]
    rewrite(sound, **changes)
    found = wrong(sound)
    assert len(found) == number, found
    for finding in found:
        for line in finding["remedy"].splitlines():
            if line.startswith("postconf "):
                subprocess.run(["sh", "-ec", line], check=True, capture_output=True)
    os.utime(sound.path / "postfix" / "main.cf", (1_500_000_000, 1_500_000_000))
    assert wrong(sound) == []


SOUND = {
    "local": {"call": "{ local:private/greylist, default_action=DUNNO, timeout=10s }"},
    "relay protection in its own list": {
        "main": [RECIPIENT + f"permit_mynetworks, reject_unlisted_recipient, {CALL}"]
    },
    "unlisted in the sender's list": {
        "main": [
            RECIPIENT + f"permit_mynetworks, reject_unauth_destination, {CALL}",
            "smtpd_sender_restrictions = reject_unlisted_recipient",
        ]
    },
    "what a filter gives back": {
        "master": [
            "smtp inet n - n - - smtpd",
            f"127.0.0.1:10025 inet n - n - - smtpd -o {OVER}permit_mynetworks,reject",
            f"submission inet n - n - - smtpd -o {OVER}permit_sasl_authenticated,reject",
        ]
    },
    "another smtpd has other time-outs": {
        "master": [
            "smtp inet n - n - - smtpd",
            "2525 inet n - n - - smtpd -o smtpd_helo_required=yes",
        ]
    },
}


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(sound, name):  # noqa: F811
    """What Postfix does rightly is not complained of."""
    rewrite(sound, **SOUND[name])
    assert wrong(sound) == []


def test_nobody_listens(sound):  # noqa: F811
    """A stopped Postfix, a missing socket and another service's are told apart."""
    sound.spawner.close()
    [found] = wrong(sound)
    assert found["level"] == "warning"
    assert "Postfix does not run" in found["text"]
    assert found["remedy"].endswith("start")
    (sound.path / "queue" / "pid").mkdir()
    (sound.path / "queue" / "pid" / "master.pid").write_text(f"{os.getpid():>10}\n")
    (sound.path / "queue" / "private" / "greylist").unlink()
    [found] = wrong(sound)
    assert found["level"] == "error"
    assert "has not read master.cf" in found["text"]
    assert found["remedy"].endswith("reload")


def test_another_service_at_which_nobody_listens(sound):  # noqa: F811
    """Postfix defers all mail for it, wherever it stands."""
    guard = "reject_unauth_destination, check_policy_service inet:127.0.0.1:1"
    postfix(sound, sound.program, guard=guard)
    [found] = wrong(sound)
    assert (found["level"], "inet:127.0.0.1:1" in found["text"]) == ("error", True)


def test_a_filter_that_hangs_up(sound):  # noqa: F811
    """What cannot answer one harmless request is an error; what can stores nothing."""
    before = sound.all()
    shown = sound.run("check", "--postfix", sound.path / "postfix").stdout
    assert "unix:private/greylist answers 'dunno' in" in shown
    assert sound.all() == before
    sound.spawner.close()
    (sound.path / "queue" / "private" / "greylist").unlink()
    (sound.path / "queue" / "private").rmdir()
    sound.spawner = Spawner(sound, "/bin/false")
    [found] = wrong(sound)
    assert "hangs up without an answer" in found["text"]


def test_a_service_that_stands_twice(sound):  # noqa: F811
    """The last line counts, and one that does not count is said."""
    path = sound.path / "postfix" / "master.cf"
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    [found] = wrong(sound)
    assert "stands twice in master.cf" in found["text"]


@pytest.mark.parametrize("form", ["argv", "file"])
def test_a_log_on_the_policy_socket(sound, form):  # noqa: F811
    """Standard error is the policy socket, so nothing is logged."""
    if form == "argv":
        postfix(sound, sound.program, argv=f"argv={sound.program} --log stderr")
    else:
        sound.configure("log = stderr")
    [found] = wrong(sound)
    assert (found["level"], "nothing is logged" in found["text"]) == ("error", True)


@pytest.mark.root
@pytest.mark.parametrize("owner", ["root", "daemon"])
def test_one_remedy_for_another_owner(sound, owner):  # noqa: F811
    """A directory of somebody else's has one remedy, which gives it to the filter's user."""
    directory = sound.database.parent
    subprocess.run(["chown", "-R", owner, directory], check=True)
    [found] = wrong(sound)
    assert found["remedy"] == f"chown -R nobody {directory}"
    subprocess.run(["sh", "-ec", found["remedy"]], check=True)
    assert wrong(sound) == []


@pytest.mark.root
def test_a_missing_directory(sound):  # noqa: F811
    """The remedy makes it for the user whom master.cf names."""
    subprocess.run(["rm", "-r", sound.database.parent], check=True)
    [found] = wrong(sound)
    subprocess.run(["sh", "-ec", found["remedy"]], check=True)
    assert wrong(sound) == []


@pytest.mark.root
def test_no_directory_of_the_system_is_touched(sound):  # noqa: F811
    """A database in /tmp needs a directory of its own; nothing is done to /tmp."""
    sound.configure("database = /tmp/g.db")
    found = [f for f in wrong(sound) if f["subject"] == "directory"]
    assert len(found) == 1
    assert "one of its own" in found[0]["text"]
    assert not any(word in f["remedy"] for f in wrong(sound) for word in ("chmod", "chown"))
    assert not os.path.exists("/tmp/g.db.lock")


def test_entries_are_counted_alike(sound):  # noqa: F811
    """check, list and stats count the same, without the policy's own bookkeeping."""
    new = b"%d/0/0" % NOW
    sound.put({b"/pool/e.com/a@e.com/b@e.org": new, b"x/y/z": b"what", b"/client/192.0.2.0": new})
    listed = len(sound.run("list", "--json").stdout.splitlines())
    states = json.loads(sound.run("stats", "--json").stdout)["states"]
    assert sum(states.values()) == listed
    shown = sound.run("check", "--postfix", sound.path / "postfix", code=None).stdout
    assert f": {listed} entries in" in shown


def test_a_look_makes_no_file(sound):  # noqa: F811
    """Where there is no database yet, check leaves nothing behind."""
    directory = sound.database.parent
    subprocess.run(["sh", "-ec", f"rm -r {directory}/*"], check=True)
    assert wrong(sound) == []
    assert list(directory.iterdir()) == []
