"""``greylist list``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import subprocess
from unittest import mock

import pytest

from greylist.commands import forget
from greylist.commands.output import duration, size
from greylist.commands.selection import client_test, glob_test
from greylist.log import quote
from greylist.sender import normalize
from greylist.settings import Settings
from greylist.store import StoreError
from greylist.store.berkeley.locks import CommandLock
from greylist.triplet import DAY, pool_key

from .mailhost import NOW, SCRIPT

WAITING = b"192.0.2.0/ann@example.com/bob@example.org"
PASSED = b"198.51.100.0//bob@example.org"
ODD = b"203.0.113.0/\xff\n@example.net/carl@example.org"


@pytest.fixture
def stocked(host):
    host.put(
        {
            WAITING: b"%d/0/0" % (NOW - 60),
            PASSED: b"%d/%d/3" % (NOW - 7200, NOW - 3600),
            ODD: b"%d/0/0" % (NOW - 30),
        }
    )
    return host


def test_list_shows_every_triplet_aligned_and_escaped(stocked):
    """Columns are aligned, the null sender is <>, and no address can forge a line."""
    lines = stocked.run("list").stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == [
        "CLIENT",
        "SENDER",
        "RECIPIENT",
        "STATE",
        "FIRST",
        "LAST",
        "ATTEMPTS",
    ]
    column = lines[0].index("RECIPIENT")
    assert {line[column:].split()[0] for line in lines[1:]} == {
        "bob@example.org",
        "carl@example.org",
    }
    assert "<>" in lines[2]
    assert "passed" in lines[2]
    assert "\\xff\\x0a@example.net" in lines[3]


@pytest.mark.parametrize(
    ("arguments", "clients"),
    [
        (["*@EXAMPLE.com"], ["192.0.2.0"]),
        (["192.0.2.77"], ["192.0.2.0"]),
        (["--client", "198.51.0.0/16"], ["198.51.100.0"]),
        (["--sender", "<>"], ["198.51.100.0"]),
        (["--recipient", "bob@*"], ["192.0.2.0", "198.51.100.0"]),
        (["--state", "waiting"], ["192.0.2.0", "203.0.113.0"]),
        (["--state", "waiting", "--state", "passed", "--older", "1h"], ["198.51.100.0"]),
        (["--newer", "1m"], ["203.0.113.0"]),
        (["--sort", "first"], ["198.51.100.0", "192.0.2.0", "203.0.113.0"]),
        (["--sort", "attempts", "--reverse", "--limit", "1"], ["198.51.100.0"]),
        (["--limit", "2"], ["192.0.2.0", "198.51.100.0"]),
        (["--reverse"], ["203.0.113.0", "198.51.100.0", "192.0.2.0"]),
    ],
)
def test_list_selects_and_sorts(stocked, arguments, clients):
    """Every selector narrows the list, and --sort and --limit arrange it."""
    output = stocked.run("list", "--json", *arguments).stdout
    assert [json.loads(line)["client"] for line in output.splitlines()] == clients


@pytest.mark.parametrize(
    "sender",
    [
        "list-return-1234-joe=example.org@lists.example",
        "LIST-return-1234-joe=example.org@lists.example",
        "prvs=0123456789=joe@example.com",
        "SRS0=HHH=TT=example.com=joe@forwarder.example",
        "joe+news@example.com",
        "list-return-#-#@lists.example",
    ],
)
def test_a_sender_of_the_log_is_found(host, sender):
    """Keys have the normal form of a sender; the form in the log stands for it, in each command."""
    key = b"192.0.2.0/%s/b@example.org" % normalize(sender.encode())
    host.put({key: b"%d/0/0" % NOW})
    for arguments in ([sender], ["--sender", sender]):
        assert len(host.run("list", "--json", *arguments).stdout.splitlines()) == 1
    assert "1 will pass" in host.run("pass", sender).stdout
    assert "1 forgotten" in host.run("forget", sender).stdout
    assert host.all() == {}


@pytest.mark.parametrize(
    ("option", "logged", "key"),
    [
        ("client", "64:ff9b::c000:207", b"192.0.2.0/a@example.com/b@example.org"),
        ("client", "2001:DB8::0A", b"2001:db8::/a@example.com/b@example.org"),
        ("client", "mail.example.com", b"/client/example.com"),
        ("client", "Mx1.Mail.Example.co.uk.", b"/sender/example.co.uk/@example.co.uk"),
        ("recipient", "B@Example.ORG.", b"192.0.2.0/a@example.com/b@example.org"),
        ("recipient", "b%example.org@example.org", b"192.0.2.0/a@example.com/b@example.org"),
        ("recipient", "example.org!b@example.org", b"192.0.2.0/a@example.com/b@example.org"),
        ("recipient", "@relay.example:b@example.org", b"192.0.2.0/a@example.com/b@example.org"),
    ],
)
def test_what_the_log_shows_is_found(host, option, logged, key):
    """A client and a recipient are found as the log shows them, in each command."""
    host.put({key: b"%d/0/0" % NOW})
    for arguments in ([logged], [f"--{option}", logged]):
        assert len(host.run("list", "--json", *arguments).stdout.splitlines()) == 1
    assert "1 forgotten" in host.run("forget", f"--{option}", logged).stdout
    assert host.all() == {}


@pytest.mark.parametrize(
    ("settings", "option", "asked", "others"),
    [
        ([], "recipient", "b+list@example.org", b"192.0.2.0/a@example.com/b@example.org"),
        ([], "recipient", "b-1@example.org", b"192.0.2.0/a@example.com/b-#@example.org"),
        (["normalize_sender = no"], "sender", "a+x@example.com", b"192.0.2.0/a@example.com/b@c.d"),
        ([], "client", "192.0.2.7", b"/client/example.com"),
    ],
)
def test_what_others_have_is_not_meant(host, settings, option, asked, others):
    """A recipient has no normal form, and a sender only where the settings have it so."""
    host.configure(*settings)
    host.put({others: b"%d/0/0" % NOW})
    assert "No entry matches" in host.run("forget", f"--{option}", asked, code=1).stderr


def test_list_says_when_nothing_matches(stocked):
    """Exit status 1 and a word on standard error; standard output stays empty."""
    result = stocked.run("list", "nobody@*", code=1)
    assert result.stdout == ""
    assert "No entry matches" in result.stderr


def test_list_makes_no_database(host):
    """A command that only reads says that there is no database, and makes none."""
    result = host.run("list", code=3)
    assert f"there is no database at {host.database}" in result.stderr
    assert os.listdir(host.database.parent) == []


def test_a_reader_that_leaves_is_no_error(host):
    """Piped into head, a long list ends quietly with status 0."""
    host.put({b"192.0.2.%d/a/%d" % (n % 256, n): b"%d/0/0" % NOW for n in range(20_000)})
    command = f"'{SCRIPT}' --config {host.config} list; echo $? >&2"
    with subprocess.Popen(
        ["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b"0\n"


def test_a_held_lock_is_named(stocked, monkeypatch):
    """A busy database is a message that names the holder, not a hang."""
    monkeypatch.setattr("greylist.store.berkeley.maintenance.PATIENCE", 0.05)
    with open(f"{stocked.database}.lock", "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        result = stocked.run("list", code=3)
    assert f"by process {os.getpid()} (" in result.stderr


def test_a_held_lock_is_waited_for_once(stocked):
    """Who could not have the lock in time does not wait for it again to leave."""
    with mock.patch.object(CommandLock, "acquire", side_effect=StoreError("held")) as acquire:
        assert "held" in stocked.run("list", code=3).stderr
    assert acquire.call_count == 1


def test_help_loads_no_command(host):
    """The help of the whole lists each command with the very words of its own module."""
    from greylist.cli import COMMANDS, cli

    for name, words in COMMANDS.items():
        command = cli.get_command(None, name)
        assert command.name == name
        assert command.get_short_help_str(200) == words
        assert "Example" in command.help
    result = host.script("--help")
    assert all(f"  {name} " in result.stdout.decode() for name in COMMANDS)


@pytest.mark.root
def test_root_leaves_no_file_of_its_own(host):
    """What root's commands create belongs to the directory's owner; root is root afterwards."""
    os.chown(host.database.parent, 65534, 65534)
    host.put({WAITING: b"%d/0/0" % NOW})
    assert os.geteuid() == 0
    owners = {os.stat(e).st_uid for e in host.database.parent.rglob("*")}
    assert owners == {65534}


@pytest.mark.root
def test_a_file_of_root_is_named(host):
    """What cannot be opened for its owner is named, with what mends it."""
    host.put({WAITING: b"%d/0/0" % NOW})
    for path in [host.database.parent, *host.database.parent.rglob("*")]:
        os.chown(path, 65534, 65534)
    region = host.database.parent / "greylist.db.env" / "__db.003"
    os.chown(region, 0, 0)
    words = f"{region} belongs to root, not to nobody; mend it: chown -R nobody {host.database}*"
    assert words in host.run("list", code=3).stderr


@pytest.mark.root
def test_somebody_else_is_told_whose_it_is(host):
    """Who may not look into the directory is not told that there is no database."""
    host.put({WAITING: b"%d/0/0" % NOW})
    os.chown(host.database.parent, 65534, 65534)
    asked = ["explain", "--client-address=192.0.2.1", "--recipient=bob@example.org"]
    for command in (["list"], asked, ["pass", "--trust", "192.0.2.1"], ["check"]):
        host.run(*command, code=None)  # imports all, as root
        os.seteuid(1)
        try:
            result = host.run(*command, code=None)
        finally:
            os.seteuid(0)
        assert result.exit_code == (1 if command == ["check"] else 3)
        assert "belongs to nobody, not to daemon" in result.output
        assert "run this as root, or as nobody" in result.output


@pytest.mark.parametrize(
    ("pattern", "client", "prefix", "expected"),
    [
        ("2001:db8::/32", b"2001:db8:1:2::", 64, True),
        ("2001:db8:1:2::99", b"2001:db8:1:2::", 64, True),
        ("2001:db8:1:2::99/128", b"2001:db8:1:2::", 64, True),
        ("2001:db8:1:3::99", b"2001:db8:1:2::", 64, False),
        ("2001:db8:1:3::99", b"2001:db8:1::", 48, True),
        ("192.0.2.9", b"192.0.2.8", 24, False),
        ("192.0.2.9", b"192.0.2.9", 24, True),
        ("192.0.2.9", b"192.0.2.0", 24, True),
        ("192.0.2.9/32", b"192.0.2.0", 24, True),
        ("192.0.2.16/28", b"192.0.2.0", 24, True),
        ("192.0.77.9", b"192.0.0.0", 16, True),
        ("192.0.2.200", b"192.0.2.128", 25, True),
        ("192.0.2.100", b"192.0.2.128", 25, False),
        ("192.0.2.9", b"192.0.2.0", 32, False),
        ("::ffff:192.0.2.9", b"192.0.2.0", 24, True),
        ("mail.*", b"mail.example.com", 24, True),
        ("192.0.2.0/24", b"example.com", 24, False),
    ],
)
def test_a_client_is_meant_by_address_network_or_glob(pattern, client, prefix, expected):
    """An address means itself and the network that stands for it in a key."""
    settings = Settings()
    settings.set("ipv6_prefix" if b":" in client else "ipv4_prefix", str(prefix))
    assert bool(client_test(pattern, settings)(client)) is expected


@pytest.mark.parametrize("option", ["--client=", "--recipient=", "--sender=", ""])
def test_an_empty_selector_selects_nothing(stocked, option):
    """A shell's variable that is not set does not make everybody meant."""
    assert "it is empty" in stocked.run("forget", option, "--state=waiting", code=2).stderr
    assert "it is empty" in stocked.run("list", option, code=2).stderr


def test_a_text_that_is_shown_can_be_looked_for(stocked):
    """What list shows of an odd address, as JSON too, is a pattern that finds it."""
    assert stocked.run("list", "\\xff\\x0a@example.net").stdout.count("\\xff") == 1
    comma = b'192.0.2.0/"a b, c"@example.com/b@example.org'
    stocked.put({comma: b"%d/0/0" % NOW})
    found = json.loads(stocked.run("list", '"a\\x20b,\\x20c"@example.com', "--json").stdout)
    assert found["sender"] == '"a\\x20b,\\x20c"@example.com'
    quoted = rb'"a\"b"@example.com'
    stocked.put({b"192.0.2.0/" + quoted + b"/b@example.org": b"%d/0/0" % NOW})
    shown = r'"a\\"b"@example.com'
    for text in (quoted.decode(), shown):
        assert stocked.run("list", "--sender", text).stdout.count(shown) == 1


def test_what_is_shown_is_all_that_is_meant(host):
    """A sender that looks like a pattern, or like another one escaped, is selected alone."""
    senders = (rb"a\x41b", b"aab", b"*", b"a*b", b"a?b", b"[ab]", rb"a\b", b"a\xffb")
    keys = {b"192.0.2.0/%s@example.com/b@example.org" % sender: sender for sender in senders}
    for key in keys:
        host.put(dict.fromkeys(keys, b"%d/0/0" % NOW))
        shown = quote(key.split(b"/")[1])
        [found] = host.run("list", "--json", "--sender", shown).stdout.splitlines()
        assert json.loads(found)["sender"] == shown
        host.run("forget", "--sender", shown)
        assert set(keys) - set(host.all()) == {key}, shown


def test_a_pool_is_forgotten_with_its_triplet(host):
    """What no list shows would let the next attempt pass; a pool that is another's is kept."""
    request = (
        "request=smtpd_access_policy\nclient_address=192.0.2.1\nclient_name=mx.example.com\n"
        "sender=ann@other.example\nrecipient=bob@example.org\n\n"
    )
    assert b"defer_if_permit" in host.script(input=request.encode()).stdout
    host.put({b"/pool/another": b"%d/0/0" % (NOW - 9)})
    assert sum(key.startswith(b"/pool/") for key in host.all()) == 2
    host.run("forget", "--sender", "ann@*")
    assert [key for key in host.all() if key != b"/purge"] == [b"/pool/another"]


def test_a_pool_is_forgotten_with_its_sender(host):
    """Where a retry from elsewhere has passed, nothing but the sender's credit may be listed."""
    sender, other = b"ann@other.example", b"/pool/another"
    pool = pool_key(b"example.com", sender, b"bob@example.org")
    host.put(
        {
            b"/sender/example.com/" + sender: b"%d/0/1" % (NOW - 60),
            pool: b"%d/%d/01" % (NOW - 3 * DAY, NOW - 60),
            other: b"%d/%d/01" % (NOW - 3 * DAY, NOW - 60),
            b"192.0.2.0/eve@example.net/bob@example.org": b"%d/0/0" % NOW,
            b"no/key": b"%d/0/0" % NOW,
        }
    )
    assert host.run("forget", "--sender", sender.decode()).stdout == "1 forgotten.\n"
    assert pool not in host.all()
    assert other in host.all()


def test_a_pool_that_may_be_another_s_is_kept(host):
    """Of two triplets that began in one second, neither pool is known to be the forgotten one's."""
    pools = {b"/pool/%d" % n: b"%d/0/0" % NOW for n in range(2)}
    triplets = {b"192.0.2.%d/a%d@example.com/b@c" % (n, n): b"%d/0/0" % NOW for n in range(2)}
    host.put(pools | triplets)
    assert host.run("forget", "a0@example.com").stdout == "1 forgotten.\n"
    assert len(host.all()) == 3
    assert host.run("forget", "a1@example.com").stdout == "1 forgotten.\n"
    assert host.all() == {}


def test_an_entry_that_changes_meanwhile_is_not_forgotten(host, monkeypatch):
    """What does not match any more when it is to be deleted is kept."""
    host.put({WAITING: b"%d/0/0" % (NOW - 500)})
    chosen = forget.choose

    def slowly(*args, **options):
        found = chosen(*args, **options)
        host.put({WAITING: b"%d/%d/1" % (NOW - 500, NOW)})
        return found

    monkeypatch.setattr(forget, "choose", slowly)
    assert host.run("forget", "--state", "waiting").stdout == "0 forgotten.\n"
    assert WAITING in host.all()


def test_a_time_beyond_all_clocks(host):
    """A time that no clock can show is shown as the number it is."""
    host.put({WAITING: b"99999999999999999999/0/1"})
    assert "99999999999999999999" in host.run("list").stdout
    host.run("explain", "--client-address=192.0.2.1", "--recipient=bob@example.org")


def test_a_glob_takes_the_whole_text():
    """Without a wildcard the whole text must match."""
    assert glob_test("bob@example.org")(b"BOB@example.org")
    assert not glob_test("bob")(b"bob@example.org")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0, "0s"), (59, "59s"), (312, "5m12s"), (7200, "2h"), (183600, "2d3h")]
)
def test_a_duration_in_words(seconds, words):
    """Two units are enough for people."""
    assert duration(seconds) == words


def test_a_size_in_words():
    """Bytes are counted in powers of 1,024."""
    assert (size(512), size(1536), size(5 << 20)) == ("512 B", "1.5 KiB", "5.0 MiB")


def on_a_terminal(host, *arguments):
    """Return what a command shows on a terminal that is both its outputs."""
    reader, terminal = pty.openpty()
    environment = {**os.environ, "GREYLIST_CONFIG": str(host.config), "TERM": "xterm"}
    with subprocess.Popen(
        [SCRIPT, *arguments], stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    ):
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # EIO, when the command has ended
            while data := os.read(reader, 65536):
                shown += data
    os.close(reader)
    return shown


def test_a_terminal_gets_colours_and_progress(stocked):
    """States are coloured; a bar shows what takes long, but never among the rows it fills."""
    shown = on_a_terminal(stocked, "list")
    assert b"\x1b[33mwaiting\x1b[0m" in shown
    assert b"Reading" not in shown
    assert b"Reading" in on_a_terminal(stocked, "list", "--sort", "first")
    assert b"today" in on_a_terminal(stocked, "stats")
    assert b"today" not in stocked.script("stats").stdout
    assert b"\x1b" not in stocked.script("list").stdout
