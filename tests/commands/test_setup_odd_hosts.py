"""``greylist setup`` where administrators have been: there and back, and what it leaves alone."""

from __future__ import annotations

import os
import pwd
import subprocess

import pytest
from readable import NOBODY

from .postfix_files import user
from .setup_host import MASTER, full_disk, needs_postconf

pytestmark = needs_postconf

GUARD = "smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n"
POSTGREY = "check_policy_service inet:127.0.0.1:10023"
OURS = "check_policy_service unix:private/greylist"
SPAWNED = "unix - n n - 0 spawn user=nobody argv="

COMMENTED = """\
smtpd_recipient_restrictions =
    # ours
    permit_mynetworks,
    check_client_access inline:{ {192.0.2.1 = permit} {192.0.2.2 = defer_if_permit later on} },
    # theirs
    check_policy_service { inet:127.0.0.1:9, timeout=3s, default_action=DUNNO },
    reject_unauth_destination,
    permit
"""
BASE = """\
base = permit_mynetworks reject_unauth_destination
smtpd_recipient_restrictions = ${base}
"""
AMAVIS = """\
smtp inet n - y - 1 postscreen
smtpd pass - - y - - smtpd
127.0.0.1:10025 inet n - n - - smtpd
  -o content_filter=
  -o smtpd_recipient_restrictions=permit_mynetworks,reject
submission inet n - y - - smtpd
  -o smtpd_recipient_restrictions=$mua_recipient_restrictions
"""
OVERRIDDEN = """\
25 inet n - n - - smtpd
  -o smtpd_recipient_restrictions=permit_mynetworks,reject_unauth_destination,reject
  -o smtpd_tls_security_level=may
"""
BRACED = OVERRIDDEN.replace("-o smtpd_rec", "-o { smtpd_rec").replace("reject\n", "reject }\n")
NULL_CLIENT = "127.0.0.1:25 inet n - n - - smtpd\n"
CALL = "private/greylist"


HOSTS = [
    (COMMENTED, MASTER),
    (f"{GUARD}{BASE}", MASTER),
    (f"{GUARD}smtpd_recipient_restrictions = permit_mynetworks", AMAVIS),
    ("", OVERRIDDEN),
    ("smtpd_relay_restrictions = permit_tls_clientcerts defer_unauth_destination", NULL_CLIENT),
]  # fmt: skip


def test_there_and_back(several):
    """Postfix asks us once, in the list that strangers meet, and then what was there before."""

    def go(mx, main, master):
        mx.write(main, master)
        before = mx.meaning()
        mx.setup(code=None)
        assert str(mx.meaning()[:2]).count(CALL) == 1
        mx.setup("--remove")
        assert mx.meaning() == before

    several(go, HOSTS)


@pytest.mark.parametrize(
    ("main", "master", "place"),
    [
        (GUARD + "smtpd_recipient_restrictions=\n", MASTER, "= permit_mynetworks permit_sasl"),
        ("smtpd_recipient_restrictions = reject\n" + GUARD
         + "smtpd_recipient_restrictions = reject_unauth_destination\n",
         MASTER, "=reject_unauth_destination check_policy_service {"),
        ("", BRACED, "reject_unauth_destination,check_policy_service,{unix:private/greylist"),
    ],
)  # fmt: skip
def test_the_place(mx, main, master, place):
    """A list that is empty, or is written twice, or stands in braces."""
    mx.write(main, master)
    assert place.replace("= ", "=") in mx.setup("--dry-run")


def test_a_word_in_a_list_of_lists(mx):
    """A call that the administrator put where setup could not tell is found there."""
    mx.write(
        f"{GUARD}base = reject_unauth_destination\n"
        "smtpd_recipient_restrictions = permit_mynetworks, $base"
    )
    assert "other parameters" in mx.setup(code=1)
    mx.postconf(f"base=reject_unauth_destination, {OURS}")
    assert "base asks greylist" in mx.setup("--dry-run")
    mx.setup("--remove")
    assert mx.postconf("-h", "base").strip() == "reject_unauth_destination"


def test_a_service_of_another_name(mx, program):
    """A greylist that was set up by hand under another name is found, and taken out."""
    mx.write(
        f"{GUARD}smtpd_recipient_restrictions = reject_unauth_destination, "
        "check_policy_service { unix:private/gl, default_action=DUNNO }\ngl_time_limit = 3600",
        f"{MASTER}gl {SPAWNED}{program}\n",
    )
    told = mx.setup("--dry-run")
    assert "gl/unix of master.cf runs" in told
    assert "postconf" not in told
    assert "setup --remove" in mx.setup("--serve", code=1)
    mx.setup("--remove")
    assert "gl" not in mx.postconf("-M")
    assert mx.postconf("-h", "smtpd_recipient_restrictions").strip() == "reject_unauth_destination"


def test_the_program_has_moved(mx, program):
    """A service whose program is gone, as after pip and before the package, gets the new one."""
    mx.write(
        f"{GUARD}smtpd_recipient_restrictions = reject_unauth_destination, {OURS}",
        f"{MASTER}greylist {SPAWNED}/nowhere/bin/greylist\n",
    )
    assert f"argv={program} " in mx.setup("--dry-run")


def test_a_stranger_of_our_name(mx):
    """A service that is called greylist and is something else is never touched."""
    mx.write(GUARD, f"{MASTER}greylist {SPAWNED}/usr/bin/perl /usr/lib/greylist.pl\n")
    before = mx.state()
    assert "is something else (spawn user=nobody argv=/usr/bin/perl" in mx.setup(code=1)
    assert "is something else" in mx.setup("--serve", code=1)
    assert "nothing was changed" in mx.setup("--remove")
    assert mx.state() == before


def test_both(mx):
    """Where postgrey is asked beside us, that is said; --from ends it, and leaves one call."""
    mx.write(f"smtpd_recipient_restrictions = reject_unauth_destination, {POSTGREY}, {OURS}")
    assert "Postfix asks postgrey as well" in mx.setup("--dry-run")
    shown = mx.setup("--dry-run", "--from", "postgrey", "--from-database", "/dev/null")
    assert f"smtpd_recipient_restrictions=reject_unauth_destination, {OURS}'" in shown
    # Its port is told by its options, wherever it is.
    options = mx.host.path / "postgrey"
    options.write_text('POSTGREY_OPTS="--inet=127.0.0.1:4711"\n')
    mx.write(f"{GUARD}smtpd_recipient_restrictions = check_policy_service inet:localhost:4711")
    take_over = ("--dry-run", "--from", "postgrey", "--from-database", "/dev/null")
    assert "--from-options" in mx.setup(*take_over, code=1)
    shown = mx.setup(*take_over, "--from-options", options)
    assert "smtpd_recipient_restrictions=check_policy_service { unix:private/greylist" in shown


@pytest.mark.parametrize(
    ("main", "master", "words"),
    [
        (f"{GUARD}master_service_disable = inet", MASTER, "name another Postfix"),
        (GUARD, "pickup unix n - y 60 1 pickup\n", "name another Postfix"),
        ("", f"smtp inet n - n - - smtpd\n  -o smtpd_recipient_restrictions={OURS},{{a,{{b}}}}\n",
         "braces within braces"),
    ],
)  # fmt: skip
def test_refusals(mx, main, master, words):
    """What it cannot do, it says before it changes anything."""
    if "braces" in words:
        master = master.replace(OURS, "reject_unauth_destination,check_client_access")
        master = master.replace("{a,{b}}", "inline:{{192.0.2.1=ok}}")
    mx.write(main, master)
    before = mx.state()
    assert words in mx.setup(code=1)
    assert mx.state() == before


def test_no_configuration(mx):
    """A Postfix without main.cf, as Debian's with "No configuration", is none."""
    assert "Postfix is not set up here" in mx.setup(code=1)
    assert "Postfix is not set up here" in mx.setup("--remove", code=1)


def test_without_the_right(mx):
    """Who may not change Postfix's files is told so, may look, and changes nothing."""
    mx.write(GUARD)
    identity = {"user": "nobody", "group": NOBODY.pw_gid, "extra_groups": []}
    identity = {"identity": identity} if os.geteuid() == 0 else {}
    mx.etc.chmod(0o555)
    before = mx.state()
    assert "are you not root" in mx.setup(code=1, **identity)
    assert "are you not root" in mx.setup("--remove", code=1, **identity)
    assert "would do" in mx.setup("--dry-run", **identity)
    assert mx.state() == before
    mx.etc.chmod(0o755)


def test_settings_that_are_there(mx):
    """Options go into settings that set nothing; others are never changed, and not passed over."""
    mx.write(GUARD)
    config = mx.host.config
    config.write_bytes(b"# all as it comes, caf\xe9\n#delay = 300s\n")
    mx.setup()
    text = config.read_bytes()
    assert text.startswith(b"# all as it comes, caf\xe9\n#delay = 300s\n")
    assert f"database = {mx.host.database}\n".encode() in text
    assert "nothing was changed" in mx.setup()
    before = mx.state()
    asked = {"database": mx.host.database, "delay": "1h"}
    assert "write there\n    delay = 1h" in mx.setup(settings=asked, code=1)
    assert mx.state() == before


def test_a_shared_database(mx):
    """With a URL no directory is made, the new user has no home, and no password is for all."""
    mx.write(GUARD)
    url = {"database": "valkey://greylist@192.0.2.1"}
    shown = mx.setup("--dry-run", settings=url, user="gl-nobody-has")
    assert "--home-dir /nonexistent gl-nobody-has" in shown
    assert "make directory" not in shown
    told = mx.setup(settings={"database": "valkey://greylist:secret@192.0.2.1"}, code=1)
    assert "--database-password-file" in told
    assert "secret" not in told


def test_a_program_that_its_user_cannot_reach(mx):
    """A program in somebody's home, as pipx has it, is refused before anything is changed."""
    mx.write(GUARD)
    home = mx.host.path / "home"
    home.mkdir(0o700)
    (home / "greylist").symlink_to(mx.command()[0])
    before = mx.state()
    command = [home / "greylist", *mx.command(user="gl-nobody-has")[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"needs {home}, which gl-nobody-has cannot enter" in done.stderr
    assert mx.state() == before


def test_roots_umask(mx):
    """Whatever the umask, what others have to read they can read."""
    mx.write(GUARD)
    place = mx.host.path / "a" / "b" / "db"
    asked = {"database": place / "greylist.db", "whitelist": mx.host.whitelist}
    mx.setup(settings=asked, umask=0o077)
    for path, mode in (
        (place.parent.parent, 0o755), (place.parent, 0o755), (place, 0o700),
        (mx.host.config, 0o644), (mx.host.whitelist, 0o644), (mx.etc / "main.cf", 0o644),
    ):  # fmt: skip
        assert path.stat().st_mode & 0o777 == mode, path


def test_a_full_disk(mx):
    """What could not be written is not there, and the next run finds nothing half done."""
    mx.write(GUARD)
    before = mx.state()
    assert str(mx.host.config) in mx.setup(code=1, preexec_fn=full_disk)
    assert mx.state() == before
    mx.host.config.write_text(f"database = {mx.host.database}\nwhitelist = {mx.host.whitelist}\n")
    mx.host.whitelist.touch()
    before = mx.meaning()
    assert "postconf" in mx.setup(code=1, preexec_fn=full_disk)
    assert mx.meaning() == before


def test_killed(several):
    """A set-up that was killed on its way is finished by the next one."""

    def go(mx, step):
        mx.write(GUARD)
        with subprocess.Popen(mx.command(), stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                step -= line.startswith("do ")
                if not step:
                    process.kill()
                    break
        assert "\n0 errors" in mx.setup()
        assert "spawn" in mx.postconf("-M", "greylist/unix")
        assert mx.postconf("-h", "smtpd_recipient_restrictions").count(CALL) == 1
        assert mx.host.database.parent.stat().st_uid == pwd.getpwnam(user()).pw_uid

    several(go, [(step,) for step in (1, 2, 4, 5, 6)])


def test_the_socket_of_another_postfix(mx):
    """The server's socket is one Postfix's: for a second one it says what to add."""
    mx.write(f"{GUARD}queue_directory = {mx.host.path}/queue")
    (mx.host.path / "greylist.socket").write_text("[Socket]\nListenStream=/elsewhere\n")
    before = mx.state()
    assert f"asks at {mx.host.path}/queue/private/greylist" in mx.setup("--serve", code=1)
    assert mx.state() == before


def test_units_for_other_places(mx):
    """A unit names the settings, and may write where the database is, blanks and all."""
    mx.write(f"{GUARD}queue_directory = {mx.host.path}/queue")
    asked = {"database": mx.host.path / "100% ours" / "greylist.db"}
    mx.setup("--serve", settings=asked | {"whitelist": mx.host.whitelist}, code=None)
    unit = (mx.host.path / "greylist.service").read_text()
    assert f'ReadWritePaths="{mx.host.path}/100%% ours"\n' in unit
    assert "StateDirectory" not in unit
    assert f"Environment=GREYLIST_CONFIG={mx.host.config}\n" in unit
