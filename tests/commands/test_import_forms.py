"""``greylist import``: every form in which the services leave their entries."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import time

import pytest
from readable import as_root, can_be_root

from greylist.triplet import Triplet

from . import peers
from .mailhost import NOW
from .test_command_import import imported

FIRST, LAST = NOW - 900, NOW - 500
PASSED = f"{FIRST},{LAST}"


def taken(host, path, *options):
    """Import what is at the path; return the triplets that are stored then."""
    imported(host, path, *options)
    return {key for key in host.all() if key[:1] != b"/"}


def credits_of(host):
    """Return the entries of known senders and of clients."""
    return {key: value for key, value in host.all().items() if key[:1] == b"/"}


@pytest.mark.parametrize(
    ("key", "stored"),
    [
        ("192.0.2.0/a@example.com/b@example.org", b"192.0.2.0/a@example.com/b@example.org"),
        ("192.0.2.0/24/a@example.com/b@example.org", b"192.0.2.0/a@example.com/b@example.org"),
        ("192.0.2.7/32/a@example.com/b@example.org", b"192.0.2.0/a@example.com/b@example.org"),
        ("192.0.2.0/24//b@example.org", b"192.0.2.0//b@example.org"),
        (
            "192.0.2.0/24/a/c@example.com/b@example.org",
            b"192.0.2.0/a%2fc@example.com/b@example.org",
        ),
        ("192.0.2.0/24/b@example.org", b"192.0.2.0/24/b@example.org"),
        ("192.0.2.0/33/a@example.com/b@example.org", b"192.0.2.0/33%2fa@example.com/b@example.org"),
        ("2001:db8:0:0:0:0:0:0/64//b@example.org", b"2001:db8:://b@example.org"),
        ("2001:db8:0:0:0:0:0:3/128/a@x.org/b@y.org", b"2001:db8::/a@x.org/b@y.org"),
        ("2001:db8:0:0:0:0:0:3/a@x.org/b@y.org", b"2001:db8::/a@x.org/b@y.org"),
        ("::ffff:192.0.2.7/a@x.org/b@y.org", b"192.0.2.0/a@x.org/b@y.org"),
    ],
)
def test_every_key_of_postgrey_is_read(host, tmp_path, key, stored):
    """With a prefix in the key or without, of each version, each lookup and each family."""
    path = tmp_path / "postgrey.db"
    peers.perl_database(path, {key: f"{PASSED},7"})
    assert taken(host, path) == {stored}
    assert host.all()[stored] == Triplet(FIRST, LAST, 2, passed=True).pack()


@pytest.mark.parametrize("client", ["192.0.2.1", "192.0.2.1/32", "2001:DB8:0:0:0:0:0:3/128"])
def test_every_client_of_postgrey_is_read(host, tmp_path, client):
    """The clients' database has addresses, with a prefix in snapshots after 1.36."""
    directory = tmp_path / "postgrey"
    directory.mkdir()
    peers.perl_database(directory / "postgrey.db", {"192.0.2.0/a@x.org/b@y.org": PASSED})
    peers.perl_database(directory / "postgrey_clients.db", {client: f"5,{LAST}"})
    result = imported(host, directory)
    assert (result["service"], result["triplets"], result["unknown"]) == ("postgrey", 1, 0)
    name = "2001:db8::" if ":" in client else "192.0.2.0"
    assert credits_of(host)[f"/client/{name}".encode()].endswith(b"/5")
    assert name in host.run("list", "--state", "trusted").stdout


def test_the_real_postgrey_with_lookup_by_host(host, tmp_path):
    """1.37 then has the prefix /32 or /128 in its keys."""
    with peers.postgrey(tmp_path, "--lookup-by-host") as stream:
        for client in ("192.0.2.7", "2001:db8:1:2::3"):
            for when in (FIRST, LAST):
                peers.ask(
                    stream,
                    client_address=client,
                    client_name="mail.example.com",
                    sender="a@example.com",
                    recipient="b@example.org",
                    policy_test_time=when,
                )
    assert taken(host, tmp_path) == {
        b"192.0.2.0/a@example.com/b@example.org",
        b"2001:db8:1:2::/a@example.com/b@example.org",
    }
    assert set(credits_of(host)) == {
        b"/client/192.0.2.0",
        b"/client/2001:db8:1:2::",
        b"/sender/192.0.2.0/a@example.com",
        b"/sender/2001:db8:1:2::/a@example.com",
    }


def test_a_network_wider_than_ours_is_named(host, tmp_path):
    """--ipv4cidr=16 of 1.36: which of its /24 the mail came from is not known."""
    path = tmp_path / "postgrey.db"
    key = "192.0.0.0/16/a@example.com/b@example.org"
    peers.perl_database(path, {key: PASSED})
    result = host.run("import", path, code=1)
    assert f"wider than ipv4_prefix or ipv6_prefix makes them\n{'':>13}{key}\n" in result.stdout
    host.configure("ipv4_prefix = 16")
    assert taken(host, path) == {b"192.0.0.0/a@example.com/b@example.org"}


@pytest.mark.parametrize(
    ("there", "here"),
    [
        ("bounces-#@example.com", b"bounces-#@example.com"),
        ("list-return-#-joe=y.org@example.com", b"list-return-#-#@example.com"),
        ("c#dev@example.com", b"c#dev@example.com"),
        ("joe-#@example.com", None),
        ("#@example.com", None),
    ],
)
def test_a_sender_whose_numbers_postgrey_left_out(host, tmp_path, there, here):
    """It has our normal form if we leave out the same; else nobody would be found under it."""
    path = tmp_path / "postgrey.db"
    peers.perl_database(path, {f"192.0.2.0/{there}/b@y.org": PASSED})
    if here:
        assert taken(host, path) == {b"192.0.2.0/%s/b@y.org" % here}
        return
    result = host.run("import", path)
    assert set(host.all()) == {b"/client/192.0.2.0"}  # it has passed, whoever it was
    words = "1  left out: of senders whose numbers it does not keep, and we tell apart"
    assert f"{words}\n{'':>13}192.0.2.0/{there}/b@y.org" in result.stdout


def test_a_client_that_is_no_address_is_named(host, tmp_path):
    """Nobody would ever be found under it."""
    path = tmp_path / "pl.db"
    peers.perl_database(
        path,
        {
            "mail.example.com/a@x.org/b@y.org": f"{FIRST}/{LAST}/3",
            "192.0.2.7/a@x.org/b@y.org": f"{FIRST}/{LAST}/3",
        },
    )
    result = host.run("import", path)
    assert (
        "1  left out: not understood\n             mail.example.com/a@x.org/b@y.org"
        in result.stdout
    )
    names = {b"192.0.2.0/a@x.org/b@y.org", b"/client/192.0.2.0", b"/sender/192.0.2.0/a@x.org"}
    assert set(host.all()) == names


ROWS = {
    "connect": [("ann", "example.com", "192.0.2", "bob@example.org", FIRST)],
    "from_awl": [
        ("carl", "example.com", "198.51.100.7", FIRST, LAST),
        ("dora", "example.com", "198.51.100", FIRST - 3600, LAST),
        ("eve", "example.net", "2001:0db8:0001:0002", FIRST, LAST),
        ("fred", "example.net", "2001:0db8:0001:0003:0000:0000:0000:0009", FIRST, LAST),
    ],
    "domain_awl": [("Lists.Example.edu", "203.0.113", FIRST - 7200, LAST)],
    "optin_email": [("ann@example.org",)],
    "optout_domain": [("example.net",), ("example.info",)],
    "config": [("version", "3")],
}
COLUMNS = {
    "connect": "sender_name, sender_domain, src, rcpt, first_seen",
    "from_awl": "sender_name, sender_domain, src, first_seen, last_seen",
    "domain_awl": "sender_domain, src, first_seen, last_seen",
    "optin_email": "email",
    "optout_domain": "domain",
    "config": "parameter, value",
}
ONCE = Triplet(FIRST, LAST, 1).pack()
CREDITS = {
    b"/client/198.51.100.0": Triplet(FIRST - 3600, LAST, 2).pack(),
    b"/client/2001:db8:1:2::": ONCE,
    b"/client/2001:db8:1:3::": ONCE,
    b"/client/203.0.113.0": Triplet(FIRST - 7200, LAST, 2).pack(),
    b"/client/example.edu": Triplet(FIRST - 7200, LAST, 1).pack(),
    b"/sender/example.edu/@example.edu": Triplet(FIRST - 7200, LAST, 1).pack(),
    b"/sender/198.51.100.0/carl@example.com": ONCE,
    b"/sender/198.51.100.0/dora@example.com": Triplet(FIRST - 3600, LAST, 1).pack(),
    b"/sender/2001:db8:1:2::/eve@example.net": ONCE,
    b"/sender/2001:db8:1:3::/fred@example.net": ONCE,
}


def sqlite(path, rows=None, columns=None):
    """Make sqlgrey's tables in an SQLite file, and leave it open."""
    tables = sqlite3.connect(path)
    for table, names in (columns or COLUMNS).items():
        tables.execute(f"CREATE TABLE {table} ({names})")
        for row in (rows or ROWS).get(table, ()):
            tables.execute(f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row)
    tables.commit()
    return tables


def check_sqlgrey(host, path):
    """See that all of ROWS is taken over or named."""
    result = host.run("import", path)
    stored = host.all()
    assert credits_of(host) == CREDITS
    assert stored[b"192.0.2.0/ann@example.com/bob@example.org"] == Triplet(FIRST).pack()
    printed = result.stdout.replace(f"\n{'':>13}", " ")
    for words in (
        "1  senders' domains that have passed",
        "1  left out: opted in; list them in a file for greylist_recipients ann@example.org",
        "2  left out: opted out; list them in a file for whitelist_recipients example.net",
    ):
        assert words in printed


def test_all_tables_of_sqlgrey(host, tmp_path):
    """Each form of src, and each table: taken over, or counted and named."""
    path = tmp_path / "sqlgrey.db"
    sqlite(path).close()
    check_sqlgrey(host, path)


def test_a_domain_that_sqlgrey_knew(host, tmp_path):
    """All its senders are known from its own servers, and from nobody else's."""
    path = tmp_path / "sqlgrey.db"
    now = int(time.time())
    sqlite(path, {"domain_awl": [("example.edu", "203.0.113", now - 900, now - 500)]}).close()
    assert host.script("import", path).returncode == 0
    for name, address, action in (
        ("mx1.example.edu", "192.0.2.9", b"dunno"),
        ("mx1.example.edu", "198.51.100.9", b"dunno"),
        ("mx1.example.com", "192.0.2.9", b"defer_if_permit"),
        ("unknown", "203.0.113.9", b"defer_if_permit"),
    ):
        request = (
            f"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address={address}\n"
            f"client_name={name}\nsender={address}@example.edu\nrecipient=bob@example.org\n\n"
        )
        answer = host.script(input=request.encode()).stdout
        assert (name, address, answer.startswith(b"action=" + action)) == (name, address, True)


def test_sqlgrey_in_a_directory(host, tmp_path):
    """The one database in a directory is found among the other files."""
    sqlite(tmp_path / "sqlgrey").close()
    (tmp_path / "README").write_text("hello\n")
    check_sqlgrey(host, tmp_path)
    sqlite(tmp_path / "other.db").close()
    words = f"several databases; name one: {tmp_path}/other.db, {tmp_path}/sqlgrey\n"
    assert words in host.run("import", tmp_path, code=1).stderr


def test_senders_that_sqlgrey_left_something_out_of(host, tmp_path):
    """A number or the recipient: they are known here if we leave out the same."""
    path = tmp_path / "sqlgrey.db"
    names = ["list-return-#-RCPT", "bounce-#", "joe-#", "RCPT"]
    rows = [(name, "example.com", "192.0.2", FIRST, LAST) for name in names]
    sqlite(path, {"from_awl": rows}).close()
    result = host.run("import", path)
    assert set(credits_of(host)) == {
        b"/client/192.0.2.0",
        b"/sender/192.0.2.0/list-return-#-#@example.com",
        b"/sender/192.0.2.0/bounce-#@example.com",
    }
    assert "2  left out: of senders whose numbers it does not keep" in result.stdout


def test_tables_of_old_versions(host, tmp_path):
    """To 1.4 the columns had other names, and the lists no first time."""
    path = tmp_path / "sqlgrey.db"
    columns = {
        "connect": "sender_name, sender_domain, ip_addr, rcpt, first_seen",
        "from_awl": "sender_name, sender_domain, host_ip, last_seen",
        "domain_awl": "sender_domain, host_ip, last_seen",
    }
    rows = {
        "connect": ROWS["connect"],
        "from_awl": [("carl", "example.com", "198.51.100.7", LAST)],
        "domain_awl": [("example.edu", "203.0.113.9", LAST)],
    }
    sqlite(path, rows, columns).close()
    assert taken(host, path) == {b"192.0.2.0/ann@example.com/bob@example.org"}
    assert set(credits_of(host)) == {
        b"/client/198.51.100.0",
        b"/client/203.0.113.0",
        b"/client/example.edu",
        b"/sender/198.51.100.0/carl@example.com",
        b"/sender/example.edu/@example.edu",
    }


def test_the_text_of_sqlite(host, tmp_path):
    """What .dump prints."""
    path = tmp_path / "sqlgrey.sql"
    with contextlib.closing(sqlite(tmp_path / "sqlgrey.db")) as tables:
        path.write_text("\n".join(tables.iterdump()) + "\n")
    check_sqlgrey(host, path)


def date(seconds, zone):
    text = subprocess.run(
        ["date", "-d", f"@{seconds}", "+%Y-%m-%d %H:%M:%S"],
        env={**os.environ, "TZ": zone},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return text.strip()


def dated(zone):
    """Return ROWS with dates, as servers have them, for numbers."""
    return {
        table: [
            tuple(date(field, zone) if isinstance(field, int) else field for field in row)
            for row in rows
        ]
        for table, rows in ROWS.items()
    }


@pytest.mark.parametrize("listed", [False, True])
def test_the_text_of_mysqldump(host, tmp_path, monkeypatch, listed):
    """Many rows in one statement, names in back-quotes, dates in UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    lines = [
        "-- MySQL dump 10.19  Distrib 10.3.39-MariaDB, for debian-linux-gnu (x86_64)",
        "/*!40103 SET TIME_ZONE='+00:00' */;",
    ]
    for table, rows in dated("UTC").items():
        names = ", ".join(f"`{name}`" for name in COLUMNS[table].split(", "))
        values = ",".join("(" + ",".join(f"'{field}'" for field in row) + ")" for row in rows)
        lines += [
            f"DROP TABLE IF EXISTS `{table}`;",
            f"CREATE TABLE `{table}` (",
            *(f"  `{name}` varchar(255) NOT NULL," for name in COLUMNS[table].split(", ")),
            "  KEY `x` (`a`)\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;",
            f"LOCK TABLES `{table}` WRITE;",
            f"INSERT INTO `{table}`{f' ({names})' if listed else ''} VALUES {values};",
            "UNLOCK TABLES;",
        ]
    path = tmp_path / "sqlgrey.sql"
    path.write_text("\n".join(lines) + "\n")
    check_sqlgrey(host, path)


@pytest.mark.parametrize("inserts", [False, True])
def test_the_text_of_pg_dump(host, tmp_path, monkeypatch, inserts):
    """COPY, or INSERT with --inserts; dates in the server's local time, with fractions."""
    monkeypatch.setenv("TZ", "America/New_York")
    lines = ["--", "-- PostgreSQL database dump", "--", "", "SET standard_conforming_strings = on;"]
    for table, rows in dated("America/New_York").items():
        lines.append(f"CREATE TABLE public.{table} (")
        lines += [f"    {name} character varying(255)," for name in COLUMNS[table].split(", ")]
        lines += ["    CONSTRAINT x CHECK (true)", ");"]
        if inserts:
            lines += [
                f"INSERT INTO public.{table} VALUES ({', '.join(repr(field) for field in row)});"
                for row in rows
            ]
        else:
            lines.append(f"COPY public.{table} ({COLUMNS[table]}) FROM stdin;")
            lines += ["\t".join(row) for row in rows]
            lines.append("\\.")
    path = tmp_path / "sqlgrey.sql"
    path.write_text("\n".join(lines).replace(":00'", ":00.123456'") + "\n")
    check_sqlgrey(host, path)


@pytest.mark.parametrize(
    ("head", "literal", "sender"),
    [
        ("-- MySQL dump", r"'o\'neill\\x'", rb"o'neill\x"),
        ("-- MySQL dump", "_binary 'o''neill'", b"o'neill"),
        ("-- MySQL dump", "0x6aff6f65", b"j\xffoe"),
        ("BEGIN TRANSACTION;", "'o''neill),(\\'", b"o'neill),(\\"),
        ("BEGIN TRANSACTION;", "X'6AFF'", b"j\xff"),
        ("-- PostgreSQL database dump", r"E'o\'neill\\'", b"o'neill\\"),
    ],
)
def test_strings_of_sql(host, tmp_path, head, literal, sender):
    """Any byte may be in a sender, and each server writes it in its own way."""
    path = tmp_path / "sqlgrey.sql"
    values = f"{literal}, 'example.com', '192.0.2.1', 'bob@example.org', {FIRST}"
    path.write_text(f"{head}\nINSERT INTO connect VALUES ({values});\n")
    assert taken(host, path) == {b"192.0.2.0/%s@example.com/bob@example.org" % sender}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("INSERT INTO connect VALUES ('a', now());\n", ":2: "),
        ("COPY connect (a) FROM stdin;\nx\n", "cut short"),
        ("INSERT INTO users VALUES ('a');\n", "tables of another program than sqlgrey (users)"),
        ("", "tables of another program than sqlgrey (none)"),
    ],
)
def test_sql_that_is_not_understood(host, tmp_path, text, words):
    """The line is named, or whose tables these are not."""
    path = tmp_path / "sqlgrey.sql"
    path.write_text(f"BEGIN TRANSACTION;\n{text}")
    assert words in host.run("import", path, code=1).stderr


@pytest.mark.parametrize("options", [[], ["-p"]])
def test_the_text_of_db_dump(host, tmp_path, options):
    """Of both of postgrey's databases in one file, too."""
    directory = tmp_path / "postgrey"
    directory.mkdir()
    entries = {"192.0.2.0/a\\b@example.com/b\xe9@example.org": PASSED}
    peers.perl_database(directory / "postgrey.db", entries)
    peers.perl_database(directory / "postgrey_clients.db", {"192.0.2.1": f"6,{LAST}"})
    text = b"".join(
        subprocess.run(
            [peers.program("db5.3_dump"), *options, directory / name],
            check=True,
            capture_output=True,
        ).stdout
        for name in ("postgrey.db", "postgrey_clients.db")
    )
    path = tmp_path / "postgrey.txt"
    path.write_bytes(text)
    recipient = "bé@example.org".encode()
    key = b"192.0.2.0/a\\b@example.com/" + recipient
    assert taken(host, path) == {key}
    assert credits_of(host)[b"/client/192.0.2.0"].endswith(b"/6")
    path.write_bytes(text.rpartition(b"DATA=END")[0])
    assert "the dump is cut short" in host.run("import", path, code=1).stderr
    path.write_bytes(text.replace(b"HEADER=END\n", b"HEADER=END\nx\n"))
    assert "'x' is no line of db_dump's" in host.run("import", path, code=1).stderr


MILTER = f"""\
#
# milter-greylist databases, dumped by milter-greylist-4.6.2 on 2027-01-15 08:00:00.
# DO NOT EDIT while milter-greylist is running, changes will be overwritten.
#


#
# stored tuples
#
# Sender IP\tSender e-mail\tRecipient e-mail\tTime accepted\tUnsuccessful shortest tarpit
192.0.2.7\t<ann@example.com>\t<bob@example.org>\t{NOW + 100} # 2027-01-15 08:01:40
2001:db8::9\t<>\t<bob@example.org>\t{NOW + 7200}\t60 TARPIT # 2027-01-15 10:00:00
198.51.100.7\t<list#a@example.com>\t<bob@example.org>\t{NOW + 86400} AUTO # 2027-01-16 08:00:00
203.0.113.7\t<eve@example.com>\t<bob@example.org>\t{NOW - 86400} AUTO # 2027-01-14 08:00:00
garbage
#
# Summary: 4 records, 1 greylisted, 2 whitelisted, 1 tarpitted
#
"""


@pytest.mark.parametrize("headed", [True, False])
def test_milter_greylist_is_taken_over(host, tmp_path, headed):
    """Its database is a text: what waits waits on, and what has passed passes."""
    path = tmp_path / "greylist.db"
    text = MILTER if headed else "".join(MILTER.partition("tarpit\n")[2].partition("garbage")[0])
    path.write_text(text)
    os.utime(path, (NOW - 50, NOW - 50))
    result = imported(host, path)
    assert (result["service"], result["triplets"], result["expired"]) == ("milter-greylist", 3, 1)
    assert result["unknown"] == headed
    stored = host.all()
    assert stored[b"192.0.2.0/ann@example.com/bob@example.org"] == Triplet(NOW - 200).pack()
    assert stored[b"2001:db8:://bob@example.org"] == Triplet(NOW + 6900).pack()
    passed = Triplet(NOW - 350, NOW - 50, 2, passed=True).pack()
    assert stored[b"198.51.100.0/list#a@example.com/bob@example.org"] == passed


def other_sqlite(path):
    with contextlib.closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE moz_places (url)")
        file.commit()


def version_10(path):
    """Make a BTree look as a newer libdb marks it."""
    peers.perl_database(path, {"192.0.2.7/a@x.org/b@y.org": PASSED})
    data = bytearray(path.read_bytes())
    data[16] = 10
    path.write_bytes(data)


def perl_hash(path):
    code = "use DB_File; tie my %db, 'DB_File', $ARGV[0], O_CREAT|O_RDWR, 0644, $DB_HASH or die;"
    subprocess.run([peers.program("perl"), "-e", code, path], check=True)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (other_sqlite, "tables of another program than sqlgrey (moz_places)"),
        (version_10, "a Berkeley DB BTree of version 10, which libdb cannot read here"),
        (version_10, "run db_dump -p (package db-util"),
        (perl_hash, "a Berkeley DB hash table"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08"), "compressed; unpack it first: gzip -dc"),
        (lambda path: path.write_bytes(b"REDIS0011\xfa"), "hold hashes of client, sender and"),
        (lambda path: path.write_text('1) "rgm3xkcwz8gusdi1jr6fb7p"\n'), "a list of Redis' keys"),
        (lambda path: path.write_text("# greylist dump 1\n"), "greylist load"),
        (lambda path: path.write_text('POSTGREY_OPTS=""\n'), "greylist import --settings"),
        (lambda path: path.mkdir(), "no database in there that could be imported"),
    ],
)
def test_what_cannot_be_imported_is_said_to_be_what_it_is(host, tmp_path, make, words):
    """And the way out, where there is one."""
    path = tmp_path / "file"
    make(path)
    assert words in host.run("import", path, code=1).stderr
    assert not host.database.exists()


def test_our_own_database_is_not_imported(host):
    """Whether its environment lies beside it or not."""
    entries = {b"192.0.2.0/a@x.org/b@y.org": b"%d/0/0" % FIRST, b"/client/192.0.2.0": b"1/0/1"}
    host.put(entries)
    assert "a database of greylist itself" in host.run("import", host.database, code=1).stderr
    assert host.all() == entries
    alone = host.path / "alone.db"
    peers.perl_database(alone, {"/client/192.0.2.0": f"{LAST}/0/5"})
    words = f"greylist --database {alone} dump | greylist load"
    assert words in host.run("import", alone, code=1).stderr


def test_a_damaged_database_ends_in_words(host, tmp_path):
    """Libdb would loop for ever on a page that is zeroed."""
    path = tmp_path / "postgrey.db"
    peers.perl_database(path, {f"192.0.2.0/{n}@x.org/b@y.org": PASSED for n in range(500)})
    data = bytearray(path.read_bytes())
    data[8192:12288] = bytes(4096)
    path.write_bytes(data)
    error = host.run("import", path, code=1).stderr
    assert f"{path}: it is damaged (page 2 is not one); what can be saved is saved by" in error


@pytest.mark.parametrize("name", ["postgrey.db", ""])
def test_who_may_not_read_it_is_told_who_may(host, program, name):
    """A database is its service's own, and so is its directory."""
    if not can_be_root():
        pytest.skip("needs root, or sudo without a password")
    directory = host.path / "postgrey"
    directory.mkdir()
    path = directory / name
    peers.perl_database(directory / "postgrey.db", {"192.0.2.0/a@x.org/b@y.org": PASSED})
    (directory / "postgrey.db").chmod(0o600)
    environment = f"GREYLIST_CONFIG={host.config}"
    done = as_root("env", environment, program, "import", path, user="nobody", check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("postgrey.db: Permission denied; run this as root\n")


def state(directory):
    """Return all of a directory that a reader could change."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        status = path.stat()
        content = path.read_bytes() if path.is_file() else sorted(os.listdir(path))
        found[path] = (status.st_mode, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


GREY = f"{NOW + 1500}|{NOW + 14_000}"
SPAMDB = f"""\
WHITE|192.0.2.1|||{NOW - 90_000}|{NOW - 88_000}|{NOW - 600 + 36 * 86400}|3|7
WHITE|2001:db8::1|||{NOW - 90_000}|{NOW - 88_000}|{NOW + 86_400}|2|0
GREY|198.51.100.9|mail.example.com|<a@example.com>|<b@example.org>|{NOW - 90}|{GREY}|2|0
GREY|198.51.100.9|<>|<c@example.org>|{NOW - 80}|{GREY}|1|0
TRAPPED|203.0.113.66|{NOW + 86_400}
SPAMTRAP|trap@example.org
GREY|198.51.100.9|what
"""


def test_spamdb_is_taken_over(host, tmp_path):
    """A white host has passed as often as spamd saw it; what is grey waits; traps are counted."""
    path = tmp_path / "spamdb.txt"
    path.write_text(SPAMDB)
    os.utime(path, (NOW, NOW))
    result = imported(host, path)
    assert result["service"] == "spamd"
    kinds = ("triplets", "clients", "traps", "unknown")
    assert [result[kind] for kind in kinds] == [2, 2, 2, 1]
    stored = host.all()
    assert stored[b"198.51.100.0/a@example.com/b@example.org"] == b"%d/0/1" % (NOW - 90)
    assert stored[b"198.51.100.0//c@example.org"] == b"%d/0/0" % (NOW - 80)
    trusted = Triplet.unpack(stored[b"/client/192.0.2.0"])
    assert (trusted.count, trusted.last_seen) == (8, NOW - 600)
    assert Triplet.unpack(stored[b"/client/2001:db8::"]).count == 1


IREDAPD_COLUMNS = (
    "id, sender, recipient, client_address, sender_domain, rcpt_domain, init_time, block_expired, "
    "record_expired, blocked_count, passed"
)
IREDAPD_ROWS = (
    (1, "a@example.com", "b@example.org", "192.0.2.7", "example.com", "example.org",
     FIRST, FIRST + 900, LAST + 30 * 86400, 1, 1),
    (2, "", "b@example.org", "2001:db8::7", "", "example.org",
     LAST, LAST + 900, LAST + 86400, 3, 0),
    (3, "c@example.com", "b@example.org", "192.0.2.7", "example.com", "example.org",
     FIRST - 90_000, FIRST - 89_000, FIRST, 1, 0),
)  # fmt: skip


@pytest.mark.parametrize("form", ["mysqldump", "pg_dump"])
def test_iredapd_is_taken_over(host, tmp_path, form):
    """A row of its table is a triplet; one that has passed makes the sender known."""
    path = tmp_path / "iredapd.sql"
    if form == "mysqldump":
        rows = ",".join("(" + ",".join(repr(value) for value in row) + ")" for row in IREDAPD_ROWS)
        columns = ",\n".join(f"  `{name}` varchar(255)" for name in IREDAPD_COLUMNS.split(", "))
        text = f"CREATE TABLE `greylisting_tracking` (\n{columns},\n  PRIMARY KEY (`id`)\n);\n"
        text += f"INSERT INTO `greylisting_tracking` VALUES {rows};\n"
        text += "INSERT INTO `greylisting_whitelists` (`id`,`sender`) VALUES (1,'192.0.2.99');\n"
        text = "-- MySQL dump 10.13\n" + text
    else:
        rows = "\n".join("\t".join(str(value) for value in row) for row in IREDAPD_ROWS)
        text = f"-- PostgreSQL database dump\nCOPY public.greylisting_tracking ({IREDAPD_COLUMNS}) "
        text += f"FROM stdin;\n{rows}\n\\.\nCOPY public.greylisting_whitelists (id, sender) "
        text += "FROM stdin;\n1\t192.0.2.99\n\\.\n"
    path.write_text(text)
    result = imported(host, path)
    assert result["service"] == "iRedAPD"
    kinds = ("triplets", "senders", "expired", "listed", "unknown")
    assert [result[kind] for kind in kinds] == [2, 1, 1, 1, 0]
    stored = host.all()
    passed = Triplet.unpack(stored[b"192.0.2.0/a@example.com/b@example.org"])
    assert passed.has_passed(300)
    assert (passed.ctime, passed.last_seen) == (FIRST, LAST)
    assert stored[b"2001:db8:://b@example.org"] == b"%d/0/0" % LAST


OTHER_DUMPS = {
    b"PGDMP\1\16": "pg_restore -f - ",
    b'<?xml version="1.0"?>\n<mysqldump xmlns:xsi="x">\n<database name="sqlgrey">': "without --xml",
}


@pytest.mark.parametrize("head", OTHER_DUMPS)
def test_a_dump_in_another_form(host, tmp_path, head):
    """It is said what the file is, and how to make one that can be read."""
    path = tmp_path / "dump"
    path.write_bytes(head)
    assert OTHER_DUMPS[head] in host.run("import", path, code=1).output


def torn_postgrey(directory):
    """Leave what a postgrey does that is killed while it writes: a log, and half a page."""
    with peers.postgrey(directory) as stream:
        peers.ask(
            stream,
            client_address="192.0.2.7",
            client_name="mail.example.com",
            sender="a@example.com",
            recipient="b@example.org",
            policy_test_time=FIRST,
        )
    for name in ("postgrey.db", "postgrey_clients.db"):
        with open(directory / name, "ab") as file:
            file.write(b"x" * 100)
    return directory


def busy_sqlgrey(directory):
    """Leave an SQLite file open, with the newest rows in its journal."""
    path = directory / "sqlgrey.db"
    tables = sqlite3.connect(path)
    tables.execute("PRAGMA journal_mode = WAL")
    tables.close()
    sqlite_left_open.append(sqlite(path))
    assert (directory / "sqlgrey.db-wal").stat().st_size
    return path


sqlite_left_open = []


@pytest.mark.parametrize("make", [torn_postgrey, busy_sqlgrey])
@pytest.mark.parametrize("options", [[], ["--dry-run"]])
def test_nothing_changes_in_what_is_read(host, tmp_path, make, options):
    """No byte, no time, no mode; and no file is made beside it."""
    directory = tmp_path / "left"
    directory.mkdir()
    path = make(directory)
    before = state(directory)
    assert imported(host, path, *options)["triplets"] == 1
    assert state(directory) == before
    while sqlite_left_open:
        sqlite_left_open.pop().close()
