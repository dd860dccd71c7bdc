"""``greylist check``: each finding, provoked."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from settled import write

from greylist.cli import cli
from greylist.commands.check.whitelist import complaints
from greylist.store.berkeley.record import SIZE, Record

from .mailhost import NOW
from .postfix_files import GOOD, Spawner, hand_over, postfix


@pytest.fixture
def sound(host, program):
    """Return a host on which all is well."""
    host.program = program
    host.put({b"192.0.2.0/a@example.com/b@example.org": b"%d/0/0" % NOW})
    postfix(host, program)
    hand_over(host)
    host.spawner = Spawner(host, program)
    yield host
    host.spawner.close()


def findings(host, code):
    """Return what the doctor finds that is not well, but for a service that is nobody's."""
    result = host.run("check", "--json", "--postfix", host.path / "postfix", code=None)
    if "unix:private/other" not in result.stdout:
        assert result.exit_code == code, result.stdout
    found = json.loads(result.stdout)["findings"]
    assert all(finding["remedy"] for finding in found if finding["level"] != "ok")
    return [
        f"{f['level']} {f['subject']}: {f['text']}"
        for f in found
        if f["level"] != "ok" and "at unix:private/other" not in f["text"]
    ]


def test_a_sound_host_has_no_findings(sound):
    """All is ok, each subject is named, and the exit status is 0."""
    assert findings(sound, 0) == []
    shown = sound.run("check", "--postfix", sound.path / "postfix").stdout
    assert "0 errors, 0 warnings." in shown
    for subject in ("settings", "whitelist", "directory", "disk", "database", "main.cf"):
        assert f"ok       {subject}" in shown


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"chroot": "y"}, 1, "error master.cf: greylist runs chrooted"),
        ({"user": "root"}, 1, "error master.cf: greylist: spawn(8) refuses to run it as root"),
        ({"user": "daemon"}, 1, "error master.cf: greylist runs as daemon, but"),
        ({"argv": "argv=/no/greylist"}, 1, "cannot run /no/greylist: No such file"),
        ({"argv": "{ argv=/a b/greylist } -q"}, 1, "cannot run /a b/greylist: No such file"),
        ({"argv": "argv=/bin/cat"}, 1, "error master.cf: no service spawns greylist"),
        ({"user": "nosuchuser"}, 1, "error master.cf: greylist: there is no nosuchuser"),
        (
            {"guard": "reject_unauth_destination, permit"},
            1,
            "asks unix:private/greylist after permit",
        ),
        (
            {"limit": "-", "guard": "warn_if_reject reject, reject_unauth_destination"},
            0,
            "at most 100",
        ),
        ({"limit": "-"}, 0, "warning master.cf: greylist: at most 100 filters"),
        ({"limit": "7"}, 0, "warning master.cf: greylist: at most 7 filters"),
        ({"time": "$command_time_limit"}, 0, "warning main.cf: greylist: spawn(8) kills a filter"),
        ({"call": "unix:private/other"}, 1, "error main.cf: nothing asks unix:private/greylist"),
        ({"call": "unix:private/greylist"}, 0, "warning main.cf: smtpd_recipient_restrictions: in"),
        ({"guard": "permit_mynetworks", "relay": "permit"}, 1, "an open relay is near"),
        (
            {"call": "{ unix:private/greylist, default_action = dunno, timeout=5s }"},
            0,
            "Postfix waits 5s, no longer than lock_timeout (5s)",
        ),
        (
            {"call": "{ unix:private/greylist, default_action=dunno, timeout=100s }"},
            0,
            "a client waits 100s when the filter hangs",
        ),
    ],
)
def test_postfix_is_looked_at(sound, changes, code, expected):
    """Each mistake in main.cf and master.cf is found, with a remedy."""
    postfix(sound, sound.program, **changes)
    found = findings(sound, code)
    assert any(expected in line for line in found), found


def test_braces_capitals_and_other_letters(sound):
    """What Postfix takes is understood: values in braces, any case, and bytes that are no UTF-8."""
    call = "{ unix:private/greylist, { default_action = DUNNO }, { timeout = 10s } }"
    postfix(sound, sound.program, guard="Reject_Unauth_Destination", call=call)
    main = sound.path / "postfix" / "main.cf"
    text = (
        main.read_text().replace("check_policy", "CHECK_policy") + "mail_name = Gr\u00fc\u00dfe\n"
    )
    main.write_bytes(text.encode("latin-1"))
    os.utime(main, (1_500_000_000, 1_500_000_000))
    assert findings(sound, 0) == []


@pytest.mark.root
def test_no_remedy_opens_the_system(sound):
    """Only an installation of ours is ever to be made readable."""
    postfix(sound, sound.program, argv="argv=/no/greylist")
    shown = sound.run("check", "--postfix", sound.path / "postfix", code=1).stdout
    assert "cannot run /no/greylist" in shown
    assert "chmod" not in shown


@pytest.mark.root
def test_a_program_that_its_user_cannot_run(sound):
    """What root can run is no proof: it is tried as the user whom master.cf names."""
    private = sound.path / "private"
    private.mkdir(mode=0o700)
    program = private / "greylist"
    program.symlink_to(sound.program)
    postfix(sound, program)
    assert "nobody cannot run" in findings(sound, 1)[0]
    assert "Permission denied" in findings(sound, 1)[0]


def test_a_restriction_in_master_cf_counts(sound):
    """A list that master.cf overrides for one service is looked at as well."""
    postfix(sound, sound.program, call="unix:private/other")
    master = sound.path / "postfix" / "master.cf"
    lines = master.read_text().splitlines(keepends=True)
    with open(master, "w") as file:
        file.write(
            "".join(lines[1:]) + "smtpd pass - - n - - smtpd\n -o { smtpd_recipient_restrictions ="
        )
        file.write(" permit_mynetworks, reject_unauth_destination, reject_unlisted_recipient,")
        file.write(" check_policy_service")
        file.write(" {unix:private/greylist, default_action=DUNNO, timeout=9s} }\n")
    assert findings(sound, 0) == []


CLASS = """\
smtpd_restriction_classes = strict, greylisting
strict = reject_unknown_sender_domain, greylisting
greylisting = check_policy_service {}
"""
OTHER = {"call": "unix:private/other"}
TABLE = "reject_unauth_destination, check_sender_access static:greylisting"


@pytest.mark.parametrize(
    ("changes", "call", "code", "expected"),
    [
        (OTHER, GOOD["call"], 1, ["error main.cf: nothing asks unix:private/greylist"]),
        (OTHER | {"guard": "reject_unauth_destination, strict"}, GOOD["call"], 0, []),
        (OTHER | {"guard": TABLE}, GOOD["call"], 0, []),
        (
            OTHER | {"guard": TABLE},
            "unix:private/greylist",
            0,
            ["warning main.cf: greylisting: in trouble", "warning main.cf: greylisting: a client"],
        ),
        (
            OTHER | {"guard": "strict", "relay": "permit"},
            GOOD["call"],
            1,
            ["error main.cf: smtpd_recipient_restrictions asks unix:private/greylist before"],
        ),
    ],
)
def test_a_restriction_class_counts(sound, changes, call, code, expected):
    """A class is looked at where a list names it, or when a table may."""
    postfix(sound, sound.program, **changes, more=CLASS.format(call))
    found = findings(sound, code)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True)), found


def test_a_class_that_names_itself(sound):
    """A circle of classes ends."""
    classes = "smtpd_restriction_classes = a, b\na = b\nb = a, check_helo_access static:a"
    postfix(sound, sound.program, more=classes)
    assert findings(sound, 0) == []


def test_asked_before_the_relay_check(sound):
    """In a list that comes before it, greylisting works, and strangers fill the database."""
    early = f"smtpd_sender_restrictions = check_policy_service {GOOD['call']}"
    postfix(sound, sound.program, **OTHER, more=early)
    found = findings(sound, 0)
    assert ["before the relay check: strangers fill" in line for line in found] == [True]


@pytest.mark.parametrize("option", ["--delay=soon", "--whitelist=here"])
def test_a_wrong_option_is_a_finding(sound, option):
    """The command line is looked at like the file."""
    result = sound.run(option, "check", "--json", "--postfix", sound.path / "postfix", code=1)
    assert option[2:7] in json.loads(result.stdout)["findings"][1]["text"]


def test_every_wrong_setting_is_named(sound):
    """All the lines that are wrong are named at once, where the filter stops at the first."""
    sound.configure("delay = soon", "colour = blue", "durable = no", "durable = yes", "nonsense")
    *found, service = findings(sound, 1)
    assert [line.partition("greylist.cf:")[2][:1] for line in found] == ["3", "4", "6", "7"]
    assert service.endswith("hangs up without an answer: the filter cannot work")
    assert "durable was set in line 5 already" in found[2]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"example.com # a friend", "no address has a blank"),
        (b"^mail\\.example\\.com$", "begins with the client's IP address"),
        (b"^abuse@", "begins with the client's IP address"),
        (b"@example\\.com/$", "ends with the recipient"),
        (b"(?-i)Example", "is in lower case"),
        (b".*", "matches everybody"),
        (b"@a|", "matches everybody"),
        (b"(a)\\1example", "RE2 has no look-around"),
        (b"@example\\.com$", None),
        (b"^192\\.0\\.2\\.", None),
        (b"^2001:db8:", None),
        (b"^unknown/", None),
        (b"^ab?", None),
        (b"^abs", "begins with"),
        (b"^abs?", None),
        (b"^mail|example", None),
        (b"^a|example", None),
        (b"/postmaster@", None),
        (b"a\\ b@example/", None),
        (rb"192\.0\.2\.", "made-up"),
        (rb"192\.0\.2\.1/", "made-up"),
        (b"bob@example.org", "made-up"),
        (rb"[$^]\^\$", "made-up"),
        (rb"\A192\.0\.2\.", None),
        (b"bob@example.org$", None),
        (rb"@example\.net/", None),
    ],
)
def test_a_line_that_does_nothing_or_too_much(pattern, expected):
    """A pattern that can never match, matches everybody or is slow is told apart."""
    found = [words for words, _ in complaints(b"", pattern)]
    assert (expected is None and not found) or (expected and expected in "".join(found)), found


def test_every_list_is_read(sound):
    """Lists of clients that are never trusted, or ours, are looked at by what they mean."""
    paths = [sound.path / "never", sound.path / "ours"]
    sound.configure(f"never_trust = {paths[0]}", f"own_clients = {paths[1]}")
    assert findings(sound, 1) == [
        f"error never_trust: {paths[0]} does not exist: nobody is kept from being trusted",
        f"error own_clients: {paths[1]} does not exist: nobody is ours by it",
    ]
    for path in paths:
        path.write_text("client_name=^mail\n.*\n")
        path.chmod(0o644)
    found = findings(sound, 0)
    assert "matches everybody: nobody is ever trusted" in found[0]
    assert "matches everybody: everybody is taken for one of ours" in found[1]
    assert len(found) == 2


def test_the_whitelist_is_read_line_by_line(sound):
    """Bad patterns are errors with their line; duplicates are named with both lines."""
    write(sound.whitelist, "# fine\n@example\\.com/\n(\n\n@example\\.com/\n")
    found = findings(sound, 1)
    assert found[0].startswith(f"error whitelist: {sound.whitelist}:3: ")
    assert "nogreylist:5: @example\\.com/: the same as line 2" in found[1]


@pytest.mark.parametrize(
    ("day", "level", "words"),
    [
        (0, "ok", "nogreylist: 1 line, dated "),
        (20, "ok", "nogreylist: 1 line, dated 2w"),
        (-3, "ok", "nogreylist: 1 line, dated 0s ago"),
        (400, "warning", "nogreylist: 1 line, dated 400 days ago"),
        (None, "ok", "nogreylist: 1 line"),
    ],
)
def test_the_age_of_a_list(sound, day, level, words):
    """A list that says of which day it is grows old after a year."""
    when = None if day is None else time.localtime(time.time() - day * 86400)
    text = time.strftime("%Y-%m-%d", when) if when else "2026-99-99"
    sound.whitelist.write_text(f"# Services\n# Dated: {text}\nclient_address=192.0.2.1\n")
    shown = sound.run("check", "--postfix", sound.path / "postfix").stdout
    assert re.search(rf"^{level} +whitelist +\S+{words}", shown, re.MULTILINE)
    assert ("dated" in shown) == (day is not None)


@pytest.mark.root
def test_a_whitelist_that_the_filter_cannot_read(sound):
    """What root can read is no proof: the file is read as the filter's user."""
    os.chmod(sound.whitelist, 0o600)
    assert "Permission denied" in findings(sound, 1)[0]


def test_a_world_writable_directory_is_an_error(sound):
    """The remedy is the command that mends it."""
    os.chmod(sound.database.parent, 0o777)
    assert "error directory: " in findings(sound, 1)[0]
    assert "chmod 0700" in sound.run("check", code=1).stdout


def test_a_directory_that_others_can_read_is_a_warning(sound):
    """Who writes to whom is nobody else's business."""
    os.chmod(sound.database.parent, 0o755)
    assert "can be read by others (mode 0755)" in findings(sound, 0)[0]


def test_no_directory_yet(sound):
    """The remedy makes it, for the filter's user."""
    shutil.rmtree(sound.database.parent)
    assert "does not exist" in findings(sound, 1)[0]
    assert "install -d -o greylist" in sound.run("check", code=1).stdout


def test_a_file_that_is_no_database(sound):
    """A damaged file is told without being touched."""
    sound.database.write_bytes(b"x" * 8192)
    assert "not a Berkeley DB BTree" in findings(sound, 1)[0]
    assert sound.database.read_bytes() == b"x" * 8192


def test_broken_and_future_entries_are_counted(sound):
    """A value that does not parse, and a first attempt in the future, are warnings."""
    sound.put({b"a/b/c": b"what", b"a/b/d": b"%d/0/0" % (NOW + 9999)})
    found = findings(sound, 0)
    assert "1 value is not ctime/atime/count, first a/b/c" in found[0]
    assert "1 first attempt lies in the future" in found[1]


def test_databases_set_aside_are_named(sound):
    """A copy that was set aside is a warning with its time."""
    aside = f"{sound.database}.{NOW - 100}"
    os.mkdir(aside)
    Path(aside, "salvage").write_text("done")
    owner = sound.database.parent.stat()
    os.chown(aside, owner.st_uid, owner.st_gid)
    assert f"damaged at 2027-01-15 07:58:20: {aside}" in findings(sound, 0)[0]


def test_the_settings_are_looked_for_where_the_filter_does(sound, monkeypatch):
    """Without a file the defaults hold; one that is named has to be there."""
    monkeypatch.setattr("greylist.settings.DEFAULT_PATH", str(sound.path / "none.cf"))
    options = ["--database", str(sound.database), "check"]
    result = CliRunner().invoke(cli, options)
    assert "none.cf: the defaults hold" in result.stdout
    result = CliRunner().invoke(cli, ["--config", str(sound.path / "no.cf"), *options])
    assert "no.cf does not exist" in result.stdout
    assert result.exit_code == 1


def test_settings_that_do_not_go_together(sound):
    """A delay that outlasts the retry window would let nobody through."""
    sound.configure("delay = 3d")
    settings, service = findings(sound, 1)
    assert settings == "error settings: delay is not shorter than retry_window"
    assert service.endswith("hangs up without an answer: the filter cannot work")


def test_postgrey_lists_are_looked_at(sound):
    """Every list of the settings is read; one that is missing is an error."""
    clients = sound.path / "clients"
    clients.write_text("example.com # fine\n192.0.2.0/33\n/(/\nexample.com\n/a(?=b)/\n")
    sound.configure(f"whitelist_clients = {clients} {sound.path}/gone {sound.path}/gone.local")
    found = findings(sound, 1)
    assert [line.partition("/clients:")[2][:2] for line in found[:4]] == ["2:", "3:", "4:", "5:"]
    assert "the same as line 1" in found[2]
    assert "RE2 has no look-around" in found[3]
    assert found[4].endswith("gone does not exist: nobody is whitelisted by it")
    assert len(found) == 5


def test_attributes_are_looked_at(sound):
    """A line about an attribute that matches whatever it is whitelists everybody."""
    write(sound.whitelist, "sender=.*\nclient_address=192.0.2.0/24\nclient_name=^mail\n")
    assert ["1: sender=.*: matches everybody" in line for line in findings(sound, 0)] == [True]


@pytest.mark.parametrize(
    ("free", "files", "words"),
    [
        (100 << 20, 1000, "warning disk: 100.0 MiB free"),
        (8 << 20, 1000, "error disk: 8.0 MiB free"),
        (1 << 40, 7, "error disk: 7 inodes free"),
    ],
)
def test_a_disk_that_fills_up(sound, monkeypatch, free, files, words):
    """Little room is a warning, none an error, and inodes are room as well."""
    space = SimpleNamespace(f_bavail=free, f_frsize=1, f_files=10**6, f_favail=files, f_flag=0)
    monkeypatch.setattr("os.statvfs", lambda _: space)
    assert any(words in line for line in findings(sound, int("error" in words)))


def test_filters_that_die_in_the_database(sound):
    """Recoveries in a row are told before the database is set aside for them."""
    path = f"{sound.database}.lock"
    with open(path, "r+b") as file:
        record = Record.unpack(file.read(SIZE))
        record.attempts = 3
        file.seek(0)
        file.write(record.pack())
    assert "recovered 3 times in a row" in findings(sound, 0)[0]


def test_no_postfix_is_no_finding(sound, monkeypatch):
    """Where there is no postconf there is nothing to look at."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    assert "ok       postfix" in sound.run("check").stdout


def test_a_broken_main_cf_is_told(sound):
    """What postconf complains of is passed on."""
    (sound.path / "postfix" / "master.cf").write_text("greylist unix - n\n")
    assert "warning postfix: postconf: " in findings(sound, 0)[0]
