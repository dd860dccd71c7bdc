"""The configurations of docs/beside-it.md, each tried on a real Postfix."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

harness = pytest.importorskip("postfix_harness")

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]

PAGE = (Path(__file__).parent.parent / "docs" / "beside-it.md").read_text()


def blocks(heading: str) -> list[str]:
    """Return the blocks of the page between this heading and the next one."""
    section = PAGE[PAGE.index(f"# {heading}\n") :].partition("\n")[2]
    return re.findall(r"```\n(.*?)```", re.split(r"(?m)^#", section)[0], re.DOTALL)


@contextlib.contextmanager
def configured(main: str, files: dict[str, str] | None = None, **settings: str):
    """Run a Postfix with a block in its main.cf, and others as files beside it."""
    postfix = harness.Postfix(main=settings)
    etc = postfix.directory / "etc"
    for name, text in {"main.cf": main, **(files or {})}.items():
        here = text.replace("/etc/postfix/", f"{etc}/")
        harness.as_root("tee", "-a", etc / name, input=here)
    with postfix:
        yield postfix


def rcpt(postfix, name="[UNAVAILABLE]", sender="a@example.com", recipient="b@example.org"):
    """Return the code of the reply to RCPT."""
    with postfix.client("192.0.2.1", name) as smtp:
        smtp.mail(sender)
        return smtp.rcpt(recipient)[0]


def test_unknown_recipients_first():
    """A recipient who does not exist is refused at once, and nothing is stored of it."""
    (main,) = blocks("Unknown recipients first")
    users = "inline:{ { b@example.org = x } }"
    with configured(main, local_recipient_maps=users) as postfix:
        assert rcpt(postfix, recipient="nobody@example.org") == 550
        assert not postfix.filters()
        assert rcpt(postfix) == 450


def test_only_some_clients():
    """Only the clients that a table names wait."""
    main, table = blocks("Only some")
    with configured(main, {"greylisted": table}) as postfix:
        assert rcpt(postfix, "mail.example.net") == 250
        assert [rcpt(postfix), rcpt(postfix, "dyn-12.example.net")] == [450, 450]
        assert rcpt(postfix, "mail.example.net") == 250


@pytest.mark.skipif(
    not Path("/usr/lib/postfix/postfix-sqlite.so").exists(), reason="no postfix-sqlite"
)
def test_only_some_users():
    """Only the users wait for their mail who want it, as a table of a database says."""
    main, table = blocks("Users who want it, from a table or SQL")
    with configured(main, {"greylisted-users.cf": table}) as postfix:
        users = postfix.directory / "users.sqlite"
        with contextlib.closing(sqlite3.connect(users)) as tables, tables:
            tables.execute("CREATE TABLE users (address TEXT, wants_greylisting INTEGER)")
            tables.execute("INSERT INTO users VALUES ('b@example.org', 1), ('c@example.org', 0)")
        users.chmod(0o644)
        harness.as_root("cp", users, postfix.directory / "etc")
        codes = [rcpt(postfix, recipient=f"{user}@example.org") for user in "bcd"]
        assert codes == [450, 250, 250]


def test_callouts():
    """The empty sender is accepted at RCPT, and waits at DATA; other senders wait at RCPT."""
    (main,) = blocks("Callouts that never come back")
    with configured(main) as postfix:

        def bounce() -> list[int]:
            with contextlib.closing(postfix.client("192.0.2.1")) as smtp:  # no QUIT after DATA
                smtp.mail("")
                return [smtp.rcpt("b@example.org")[0], smtp.docmd("DATA")[0]]

        assert rcpt(postfix) == 450
        assert bounce() == [250, 450]
        postfix.age(400)
        assert bounce() == [250, 354]
