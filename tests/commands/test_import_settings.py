"""``greylist import --settings``: the options of the others as lines of greylist.cf."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path

import pytest

from greylist import settings as settings_module
from greylist.commands.importers import postgrey_options

from . import peers


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """Put postgrey's own lists into a directory of the test's."""
    directory = tmp_path / "lists"
    directory.mkdir()
    monkeypatch.setattr(postgrey_options, "CONFIGURATION", str(directory))
    return directory


def printed(host, path, text):
    path.write_text(text)
    lines = host.run("import", "--settings", path).stdout.splitlines()
    assert lines[0].startswith(f"# For greylist.cf: what {path} says of ")
    settings = [line for line in lines if not line.startswith("#")]
    # What is printed can be put into the file as it is.
    host.config.write_text("\n".join(lines) + "\n")
    settings_module.load(str(host.config)).check()
    return settings, "\n".join(line for line in lines if line.startswith("# "))


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ("--delay=60", ["delay = 60s"]),
        ("--delay 60", ["delay = 60s"]),
        ("-delay=60", ["delay = 60s"]),
        ("--delay=0", ["delay = 300s"]),
        ("--delay=60 --delay=90", ["delay = 90s"]),
        ("--max-age=14", ["max_age = 14d"]),
        ("--retry-window=3", ["retry_window = 3d"]),
        ("--retry-window=6h", ["retry_window = 6h"]),
        ("--auto-whitelist-clients", ["auto_whitelist = 5"]),
        ("--auto-whitelist-clients=8 -v", ["auto_whitelist = 8", "verbose = 1"]),
        ("--auto-whitelist-clients=0", ["auto_whitelist = 0"]),
        ("--lookup-by-host", ["ipv4_prefix = 32", "ipv6_prefix = 128", "pool = off"]),
        (
            "--lookup-by-subnet --ipv4cidr=20 --ipv6cidr=56",
            ["ipv4_prefix = 20", "ipv6_prefix = 56"],
        ),
        ("--greylist-action=451", ["action = 451"]),
        ("--greylist-action=DEFER_IF_PERMIT", ["action = DEFER_IF_PERMIT"]),
        ("--greylist-text='Wait %s, %r'", ["reply = Wait %s, %r"]),
        (
            "--x-greylist-header='X-Late: %t at %h; %d'",
            ["header = yes", "header_text = X-Late: %t at %h; %d"],
        ),
        ("--hostname=mx.example.org", ["hostname = mx.example.org"]),
        ("--syslog-facility=local3", ["syslog_facility = local3"]),
        ("--syslogfacility=local3", ["syslog_facility = local3"]),
        ("--quiet", ["quiet = yes"]),
        ("--whitelist-clients=/a --whitelist-clients=/b", ["whitelist_clients = /a /b"]),
        ("--whitelist-recipients=/c", ["whitelist_recipients = /c"]),
    ],
)
def test_each_option_of_postgrey_has_its_setting(host, tmp_path, lists, options, lines):
    """In the shell form of Debian's /etc/default/postgrey."""
    text = f'# a comment with --delay=1\nPOSTGREY_OPTS="--inet=10023 {options}"\n'
    assert sorted(printed(host, tmp_path / "default", text)[0]) == sorted(lines)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--inet=10023", "--inet=10023: master.cf says where Postfix listens"),
        ("--unix=/run/x", "--unix=/run/x: master.cf"),
        ("--socketmode=0660", "--socketmode=0660: master.cf"),
        ("--listen-queue-size=9", "--listen-queue-size=9: master.cf"),
        ("--daemonize --pidfile=/x", "--pidfile=/x: not needed"),
        ("--user=x --group=y", "--group=y: not needed"),
        ("--dbdir=/srv/pg", "take it over with: greylist import /srv/pg"),
        ("--privacy", "--privacy: no counterpart"),
        ("--exim", "--exim: not needed"),
        ("--frobnicate=7", "--frobnicate=7: no option that is known here"),
        ("--greylist-action=REJECT", "--greylist-action=REJECT: action: 'reject' is none of"),
        ("--greylist-text='%c'", "%c stands for the client's address here"),
        ("", "header = yes would add a header"),
    ],
)
def test_what_has_no_counterpart_is_named_in_a_comment(host, tmp_path, lists, option, words):
    """With what to do instead."""
    comments = printed(host, tmp_path / "default", f'POSTGREY_OPTS="{option}"\n')[1]
    assert words in comments


def test_the_lists_that_postgrey_reads_by_itself(host, tmp_path, lists):
    """Unless it is told others, those in /etc/postgrey hold, of which some may not be there."""
    (lists / "whitelist_clients").touch()
    (lists / "whitelist_clients.local").touch()
    text = 'POSTGREY_OPTS="--delay=60"\n'
    name = f"{lists}/whitelist_clients"
    expected = ["delay = 60s", f"whitelist_clients = {name} {name}.local"]
    assert printed(host, tmp_path / "default", text)[0] == expected


PLACES = {
    "Debian": """
        POSTGREY_OPTS="--delay=60"
        POSTGREY_TEXT="Later, please"
    """,
    "twice": """
        POSTGREY_OPTS="--delay=60"
        POSTGREY_OPTS="$POSTGREY_OPTS --greylist-text='Later, please'"
    """,
    "more": """
        POSTGREY_OPTS="--delay=60"
        POSTGREY_OPTS+=" --greylist-text='Later, please'"
    """,
    "export": """
        export POSTGREY_OPTS='--delay=60 --greylist-text="Later, please"'  # of the host
    """,
    "lines": """
        POSTGREY_OPTS="--inet=10023
            --delay=60
            --greylist-text='Later, please'"
    """,
    "unit": """
        [Service]
        ExecStart=/usr/sbin/postgrey --inet=10023 \\
            --delay=60 \\
            "--greylist-text=Later, please"
    """,
    "unit with a variable": """
        Environment="POSTGREY_OPTS=--delay=60"
        ExecStart=/usr/sbin/postgrey $POSTGREY_OPTS --greylist-text="Later, please"
    """,
    "Gentoo": """
        POSTGREY_DELAY="60"
        POSTGREY_TEXT="Later, please"
        POSTGREY_PORT=10030
    """,
    "FreeBSD": """
        postgrey_enable="YES"
        postgrey_flags="--delay=60 --greylist-text='Later, please'"
    """,
    "command": """
        postgrey --inet=10023 -d --delay=60 --greylist-text 'Later, please'
    """,
}


@pytest.mark.parametrize("text", PLACES.values(), ids=PLACES)
def test_wherever_the_options_stand(host, tmp_path, lists, text):
    """Debian's, Fedora's, Gentoo's and FreeBSD's files, units, and a plain command."""
    expected = ["delay = 60s", "reply = Later, please"]
    assert sorted(printed(host, tmp_path / "file", textwrap.dedent(text))[0]) == expected


def test_the_packages_own_files(host, lists):
    """What Debian installs is read, and changes nothing."""
    for path in ("/etc/default/postgrey", "/etc/sqlgrey/sqlgrey.conf"):
        if not os.access(path, os.R_OK):
            pytest.skip(f"needs {path}")
        result = host.run("import", "--settings", path)
        assert f"what {path} says of" in result.stdout


def test_no_option_of_the_real_postgrey_is_unknown(host, tmp_path, lists):
    """Each that its manual names has a setting, or a word on why it has none."""
    manual = Path(peers.program("postgrey")).read_text(encoding="utf-8")
    names = set(re.findall(r"--([a-z][a-z0-9-]+)=[A-Z\[]", manual))
    names |= {"verbose", "quiet", "daemonize", "lookup-by-subnet", "lookup-by-host", "privacy"}
    assert len(names) > 20
    options = " ".join(f"--{name}=1" for name in sorted(names | {"exim"}) if name != "whitelist-x")
    comments = printed(host, tmp_path / "default", f'POSTGREY_OPTS="{options}"\n')[1]
    assert "no option that is known here" not in comments


def test_sqlgrey_conf(host, tmp_path):
    """Its times are in minutes, hours and days; what is not set has its own default."""
    text = (
        "# SQLgrey\nreconnect_delay = 10   # minutes\nawl_age=32\ngreymethod = full\n"
        "prepend = 0\nreject_first_attempt = immed\nreject_code = 451\ndb_type = mysql\n"
        "db_name = grey\nconnect_src_throttle = 5\noptmethod = optin\ninet = 2501\n"
    )
    settings, comments = printed(host, tmp_path / "sqlgrey.conf", text)
    assert sorted(settings) == [
        "action = defer",
        "delay = 10m",
        "header = no",
        "ipv4_prefix = 32",
        "ipv6_prefix = 128",
        "max_age = 32d",
        "pool = off",
        "retry_window = 24h",
    ]
    for words in (
        "mysqldump grey >sqlgrey.sql; greylist import sqlgrey.sql",
        "connect_src_throttle = 5: no counterpart",
        "reject_code = 451: action = 451 would use it",
        "optmethod = optin: list the recipients of its tables in a file",
        "inet = 2501: master.cf",
    ):
        assert words in comments


@pytest.mark.parametrize("text", ["", "root:x:0:0\n", "a = b\n", "\0\1"])
def test_a_file_of_something_else(host, tmp_path, text):
    """It has no options that are known here, and the message says which files do."""
    path = tmp_path / "file"
    path.write_text(text)
    assert str(path) in host.run("import", "--settings", path, code=1).stderr


def test_either_a_database_or_options(host, tmp_path):
    """Both, or neither, is wrong usage."""
    assert "give either PATH or --settings" in host.run("import", code=2).stderr
    (tmp_path / "x").touch()
    both = ("import", tmp_path, "--settings", tmp_path / "x")
    assert "give either PATH or --settings" in host.run(*both, code=2).stderr
