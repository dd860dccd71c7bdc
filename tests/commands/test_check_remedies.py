"""Break it, read the remedy of ``greylist check``, run it, and check again: all is well."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from click.testing import CliRunner
from settled import write

from greylist.cli import cli

from .mailhost import NOW
from .postfix_files import GOOD, Spawner, postfix, user
from .test_command_check import sound  # noqa: F401 - a fixture

USER = user()
CALL = f"check_policy_service {GOOD['call']}"
SHORT_CALL = "check_policy_service {unix:private/greylist,default_action=DUNNO,timeout=10s}"
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
    settle(host)


def settle(host):
    """Let main.cf be old: Postfix waits for two seconds until a changed file is at rest."""
    os.utime(host.path / "postfix" / "main.cf", (1_500_000_000, 1_500_000_000))


def mend(host, found):
    """Type what the remedies say: each line that is no sentence; Postfix itself does not run."""
    for finding in found:
        lines = [line for line in finding["remedy"].splitlines() if line[-1] not in ".:"]
        assert lines, finding
        for line in lines:
            if not line.startswith("postfix "):
                subprocess.run(["sh", "-ec", line], check=True, capture_output=True)
    settle(host)


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
    mend(sound, found)
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
    "submission at a port of its own": {
        "master": [
            "smtp inet n - n - - smtpd",
            f"2587 inet n - n - - smtpd -o {OVER}permit_sasl_authenticated,reject",
            "[::]:4650 inet n - n - - smtpd -o smtpd_client_restrictions=permit_mynetworks,defer",
        ]
    },
    "a path that a chrooted smtpd finds": {
        "call": "{ unix:/private/greylist, default_action=DUNNO, timeout=10s }",
        "master": ["smtp inet n - y - - smtpd"],
    },
    "an smtpd that master(8) does not start": {
        "main": ["master_service_disable = 2525.inet"],
        "master": [
            "smtp inet n - n - - smtpd",
            f"2525 inet n - n - - smtpd -o {OVER}reject_unauth_destination",
        ],
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


@pytest.mark.parametrize(
    "argv",
    [
        "argv=/usr/bin/nice -n 5 {} --config {}",
        "argv=/usr/bin/env LANG=C {} --config {}",
        "argv=/bin/sh -c {{ exec {} --config {} }}",
    ],
)
def test_a_program_that_starts_the_filter(sound, argv):  # noqa: F811
    """Whatever calls greylist, its options are followed, and changed if they are words."""
    rewrite(sound, argv=argv.format(sound.program, sound.config))
    assert wrong(sound) == []
    rewrite(sound, argv=argv.format(sound.program, sound.config).replace("--", "--log stderr --"))
    [found] = wrong(sound)
    if "/bin/sh" in argv:
        assert found["remedy"] == "Change its arguments in master.cf by hand: greylist/unix."
    else:
        mend(sound, [found])
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


@pytest.mark.parametrize("whose", ["ours", "another's"])
def test_a_path_that_a_chrooted_smtpd_does_not_find(sound, whose):  # noqa: F811
    """A socket outside of the queue directory is not there for an smtpd that runs chrooted."""
    place = sound.path / "queue" / "private" / "greylist"
    call = f"{{ unix:{place}, default_action=DUNNO, timeout=10s }}"
    if whose == "ours":
        rewrite(sound, call=call, master=["smtp inet n - y - - smtpd"])
    else:
        place = place.with_name("other")
        place.symlink_to("greylist")
        guard = f"reject_unauth_destination, check_policy_service unix:{place}"
        rewrite(sound, guard=guard, master=["smtp inet n - y - - smtpd"])
    [found] = wrong(sound)
    assert f"smtp/inet runs chrooted in {sound.path}/queue, and does not find" in found["text"]
    mend(sound, [found])
    assert wrong(sound) == []


DEAD = "check_policy_service inet:127.0.0.1:1"
DEAD_PLACES = {
    "recipients": {"guard": f"reject_unauth_destination, {DEAD}"},
    "with settings of its own, and a warning": {
        "guard": "reject_unauth_destination, warn_if_reject check_policy_service "
        "{ inet:127.0.0.1:1, timeout=5s }"
    },
    "a class": {
        "main": [
            "smtpd_restriction_classes = spf",
            f"spf = {DEAD}, reject_unknown_sender_domain",
            RECIPIENT + f"{FIRST}, spf, {CALL}",
        ]
    },
    "several lists": {
        "guard": f"reject_unauth_destination, {DEAD}",
        "main": [f"smtpd_sender_restrictions = {DEAD}", f"smtpd_data_restrictions = {DEAD}"],
    },
    "master.cf": {
        "master": [
            f"smtp inet n - n - - smtpd -o {{ {OVER} {FIRST}, {DEAD}, {SHORT_CALL} }}",
            f"submission inet n - n - - smtpd -o {{ {OVER} permit_mynetworks, {DEAD}, reject }}",
        ]
    },
}


@pytest.mark.parametrize("place", DEAD_PLACES)
def test_another_service_at_which_nobody_listens(sound, place):  # noqa: F811
    """Postfix defers all mail for it, wherever it stands; it can be taken out."""
    rewrite(sound, **DEAD_PLACES[place])
    [found] = wrong(sound)
    assert (found["level"], "inet:127.0.0.1:1" in found["text"]) == ("error", True)
    mend(sound, [found])
    assert wrong(sound) == []
    main = (sound.path / "postfix" / "main.cf").read_text()
    assert ("reject_unknown_sender_domain" in main) == (place == "a class")


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


@pytest.mark.parametrize("times", [2, 3])
def test_a_service_that_stands_twice(sound, times):  # noqa: F811
    """The last line counts, and is the one that stays."""
    path = sound.path / "postfix" / "master.cf"
    line = path.read_text().splitlines()[1]
    others = [line.replace("greylist --", f"greylist --delay {n}m --") for n in range(1, times)]
    path.write_text("\n".join([path.read_text().splitlines()[0], *others, line]) + "\n")
    [found] = wrong(sound)
    assert f"stands {'twice' if times == 2 else '3 times'} in master.cf" in found["text"]
    mend(sound, [found])
    assert wrong(sound) == []
    assert path.read_text().count("\ngreylist ") == 1
    assert "--delay" not in path.read_text()


@pytest.mark.parametrize("form", ["--log stderr", "--log=stderr", "file"])
def test_a_log_on_the_policy_socket(sound, form):  # noqa: F811
    """Standard error is the policy socket, so nothing is logged."""
    if form == "file":
        sound.configure("log = stderr", "delay = 7m")
    else:
        argv = f"argv={sound.program} {form} --config {sound.config} -v"
        rewrite(sound, argv=argv)
    [found] = wrong(sound)
    assert (found["level"], "nothing is logged" in found["text"]) == ("error", True)
    mend(sound, [found])
    assert wrong(sound) == []
    if form == "file":
        assert "delay = 7m" in sound.config.read_text()


def test_settings_in_argv_that_commands_do_not_see(sound):  # noqa: F811
    """They are moved into the file that commands read, in the place of what stands there."""
    other = sound.path / "other"
    other.write_text("# nobody\n")
    database = sound.database.parent / "other.db"
    options = f"--database {database} --whitelist={other}"
    rewrite(sound, argv=f"argv={sound.program} --config {sound.config} {options} --delay 9m")
    found = wrong(sound)
    assert ["master.cf, where commands do not see it" in f["text"] for f in found] == [True, True]
    mend(sound, found)
    assert wrong(sound) == []
    assert sound.settings.database == str(database)
    assert sound.settings.whitelist == str(other)
    assert "--delay 9m" in (sound.path / "postfix" / "master.cf").read_text()


def test_settings_in_argv_of_one_of_two(sound):  # noqa: F811
    """A file that another filter reads too is left to that one."""
    before = sound.config.read_text()
    database = sound.database.parent / "other.db"
    master = f"second unix - n n - 0 spawn user={USER} argv={sound.program}"
    rewrite(sound, main=["second_time_limit = 1h"])
    path = sound.path / "postfix" / "master.cf"
    with path.open("a") as file:
        file.write(f"{master} --config {sound.config} --database {database}\n")
    (sound.path / "queue" / "private" / "second").symlink_to("greylist")
    found = wrong(sound)
    assert [f["text"][:18] for f in found] == ["second has --datab"]
    mend(sound, found)
    assert wrong(sound) == []
    assert sound.config.read_text() == before
    assert f"database = {database}" in (sound.path / "greylist.cf.second").read_text()


def test_each_filter_is_looked_at(sound):  # noqa: F811
    """Several services have their own settings, lists, users and databases."""
    other = sound.path / "other.cf"
    database = sound.path / "nowhere" / "other.db"
    write(other, f"database = {database}\nwhitelist = {sound.path}/no\nmode = off\ndelay = x\n")
    rewrite(sound, main=["second_time_limit = 7"])
    path = sound.path / "postfix" / "master.cf"
    with path.open("a") as file:
        file.write(f"second unix - n n - 0 spawn user={USER}\n argv={sound.program} -v\n")
        file.write(f" --config {other}\n")
    (sound.path / "queue" / "private" / "second").symlink_to("greylist")
    found = [f["text"] for f in wrong(sound)]
    for words in (
        f"{other}:4: delay",
        "second: mode = off",
        f"{sound.path}/nowhere does not exist",
        "second: spawn(8) kills a filter after 7",
    ):
        assert sum(words in text for text in found) == 1, (words, found)
    shown = sound.run("check", "--postfix", sound.path / "postfix", code=1).stdout
    assert f"{sound.database}: 1 entry" in shown
    assert f"greylist --config {other} ..." in shown


def test_the_file_that_the_filter_reads(sound):  # noqa: F811
    """Who looks at another file than the filter's hears of it, and can have the filter read it."""
    rewrite(sound, argv=f"argv={sound.program}")
    found = wrong(sound)
    assert [f["level"] for f in found] == ["warning"]
    assert "/etc/postfix/greylist.cf (its default)" in found[0]["text"]
    mend(sound, [f | {"remedy": f["remedy"].partition("\n")[2]} for f in found])
    assert wrong(sound) == []


def test_a_file_that_the_environment_names(sound, monkeypatch):  # noqa: F811
    """It is the one to be looked at, but not that of a filter that has none in master.cf."""
    default, other = sound.path / "default.cf", sound.path / "other.cf"
    write(default, sound.config.read_text() + "mode = learn\n")
    write(other, sound.config.read_text() + "mode = off\n")
    monkeypatch.setattr("greylist.settings.DEFAULT_PATH", str(default))
    monkeypatch.setenv("GREYLIST_CONFIG", str(other))

    def modes():
        result = CliRunner().invoke(cli, ["check", "--postfix", str(sound.path / "postfix")])
        return [mode for mode in ("mode = off", "mode = learn") if mode in result.stdout]

    assert modes() == ["mode = off"]
    monkeypatch.delenv("GREYLIST_CONFIG")
    rewrite(sound, argv=f"argv={sound.program}")
    assert modes() == ["mode = learn"]
    # One filter reads what the environment names: each is looked at with its own.
    monkeypatch.setenv("GREYLIST_CONFIG", str(other))
    with (sound.path / "postfix" / "master.cf").open("a") as file:
        file.write(f"second unix - n n - 0 spawn user={USER} argv={sound.program}")
        file.write(f" --config {other}\n")
    assert modes() == ["mode = off", "mode = learn"]


def test_changes_of_one_service_do_not_undo_each_other(sound):  # noqa: F811
    """Each command has the changes of those before it."""
    argv = f"argv={sound.program} --log stderr --config {sound.config} --database /no/x.db"
    rewrite(sound, argv=argv, user="root")
    sound.configure(f"database = {sound.database}")
    found = [f for f in wrong(sound) if "postconf" in f["remedy"]]
    assert len(found) == 3
    mend(sound, found)
    master = (sound.path / "postfix" / "master.cf").read_text()
    assert "user=root" not in master
    assert "--log" not in master
    assert "--database" not in master


@pytest.mark.parametrize("user", ["root", "", "postfix"])
def test_a_user_as_whom_nothing_is_run(sound, user):  # noqa: F811
    """The remedy names the owner of the database's directory."""
    rewrite(sound, user=user)
    found = wrong(sound)
    mend(sound, found)
    assert wrong(sound) == []


def test_a_program_that_is_not_there(sound, monkeypatch):  # noqa: F811
    """The remedy names the one that is there, with the same options; so it does without a line."""
    monkeypatch.setenv("PATH", os.path.dirname(sound.program) + ":" + os.environ["PATH"])
    rewrite(sound, argv=f"argv=/no/greylist --config {sound.config}")
    found = wrong(sound)
    mend(sound, found)
    assert wrong(sound) == []
    rewrite(sound, argv="argv=/bin/cat")
    [found] = wrong(sound)
    assert "no service spawns" in found["text"]
    mend(sound, [found])
    assert wrong(sound) == []


@pytest.mark.root
@pytest.mark.parametrize("fault", ["owner", "readable", "writable", "root's"])
@pytest.mark.parametrize("others", [True, False])
def test_a_directory_with_a_blank_that_may_be_shared(sound, fault, others):  # noqa: F811
    """No remedy is about two other directories, or takes one from another program."""
    directory = sound.path / "a b"
    sound.database.parent.rename(directory)
    sound.database = directory / "greylist.db"
    sound.configure()
    if others:
        (directory / "theirs").touch()
    owner = {"owner": "daemon", "root's": "root"}.get(fault, "nobody")
    subprocess.run(["chown", "-R", owner, directory], check=True)
    directory.chmod({"readable": 0o755, "writable": 0o777}.get(fault, 0o700))
    found = wrong(sound)
    before = directory.stat()
    for finding in found:
        assert not others or finding["remedy"].lower().startswith("have database = name"), finding
        if not others:
            subprocess.run(["sh", "-ec", finding["remedy"]], check=True)
    if others:
        after = directory.stat()
        assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert bool(wrong(sound)) == others


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
