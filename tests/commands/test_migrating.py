"""docs/migrating.md shows what ``greylist import`` prints, from what the real services left."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing

import pytest

from . import peers
from .mailhost import Host, place
from .test_import_forms import MILTER, NOW
from .test_readme_commands import plain, run, shown

OPTIONS = """\
POSTGREY_OPTS="--inet=10023 --delay=60 --auto-whitelist-clients=8 --group=postgrey"
POSTGREY_TEXT="Please try again in %s seconds"
"""
CONFIGURATION = """\
reconnect_delay = 1
awl_age = 32
greymethod = classc
db_type = SQLite
db_name = /var/lib/sqlgrey/sqlgrey.db
optmethod = optout
"""


@pytest.fixture
def left():
    """Return a host with what four services left on it, and the page's names of the files."""
    with place() as path:
        host = Host(path)
        (path / "postgrey").write_text(OPTIONS)
        (path / "sqlgrey.conf").write_text(CONFIGURATION)
        now = int(time.time())
        postgrey(path, now)
        sqlgrey(path, now)
        peers.perl_database(
            path / "pl.db",
            {
                "203.0.113.7/gus@example.com/bob@example.org": str(now - 900),
                "203.0.113.9/eve@example.com/bob@example.org": str(now - 10),
                "203.0.113.7": "12",
            },
        )
        text = MILTER.replace("garbage\n", "")
        for shift in (100, 7200, 86400, -86400):
            text = text.replace(str(NOW + shift), str(now + shift))
        (path / "milter.db").write_text(text)
        yield (
            host,
            {
                "/etc/default/postgrey": str(path / "postgrey"),
                "/etc/sqlgrey/sqlgrey.conf": str(path / "sqlgrey.conf"),
                "/var/lib/postgrey": str(path / "lib-postgrey"),
                "/var/lib/sqlgrey": str(path / "lib-sqlgrey"),
                "/var/lib/postfix/greylist.db": str(path / "pl.db"),
                "/var/lib/milter-greylist/greylist.db": str(path / "milter.db"),
            },
        )


def postgrey(path, now):
    """Have the real postgrey see some mail."""
    directory = path / "lib-postgrey"
    directory.mkdir()
    with peers.postgrey(directory) as stream:
        for sender, times in (
            ("ann@example.com", (now - 900, now - 500)),
            ("joe-77@example.com", (now - 900, now - 500)),
            ("carl@example.net", (now - 60,)),
        ):
            for when in times:
                peers.ask(
                    stream,
                    client_address="192.0.2.7",
                    client_name="mail.example.com",
                    sender=sender,
                    recipient="bob@example.org",
                    policy_test_time=when,
                )


def sqlgrey(path, now):
    """Have the real sqlgrey see some mail, and users that opt out."""
    directory = path / "lib-sqlgrey"
    directory.mkdir()
    with peers.sqlgrey(directory) as stream:
        for sender in ("dora@example.com", "", "dora@example.com"):
            peers.ask(
                stream,
                client_address="198.51.100.7",
                client_name="mail.example.net",
                helo_name="mail.example.net",
                sender=sender,
                recipient="bob@example.org",
            )
            time.sleep(1.1)
    (directory / "sqlgrey.conf").unlink()
    with closing(sqlite3.connect(directory / "sqlgrey.db")) as tables:
        tables.execute("INSERT INTO optout_email VALUES ('boss@example.org')")
        tables.execute(f"INSERT INTO domain_awl VALUES ('x.org', '198.51.100', {now}, {now})")
        tables.commit()


def test_the_page_shows_what_import_prints(left):
    """Each block is run in turn on one host, and prints what is shown."""
    examples = shown("docs/migrating.md")
    assert len(examples) > 6
    for command, output in examples:
        assert (command, plain(run(*left, command))) == (command, plain(output))
