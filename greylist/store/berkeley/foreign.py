"""A BTree of another program, read from a scratch copy, which libdb may change as it likes."""

from __future__ import annotations

import os
import re
from contextlib import closing
from typing import TYPE_CHECKING

from greylist.store.berkeley.environment import META, Damaged, db
from greylist.store.berkeley.pages import check_file, check_pages, drop_partial_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

LOG = re.compile(r"log\.\d{10}")
"""The name of a log file of a Berkeley DB environment."""

_MAGIC = {0x053162: "BTree", 0x061561: "hash table", 0x042253: "queue", 0x074582: "heap"}
_OLDEST = 8
_DUMP = "on the host that wrote it, run db_dump -p (package db-util), and import its output"

_SAVE = (
    "what can be saved is saved by db_dump -R -p (package db-util), whose output can be imported"
)


def kind(head: bytes) -> str:
    """Return the kind of Berkeley DB file that begins like this; empty if it is none.

    Of a file that libdb cannot read here, the text says what it is; otherwise it is ``BTree``.

    Args:
        head: the first META bytes of the file, or all of a shorter one.
    """
    for offset, form in ((0, "Berkeley DB 1.85 {}"), (12, "Berkeley DB {}")):
        for order in ("little", "big"):
            name = _MAGIC.get(int.from_bytes(head[offset : offset + 4], order))
            if len(head) < META or not name:
                continue
            if (offset, name) != (12, "BTree"):
                return form.format(name)
            version = int.from_bytes(head[16:20], order)
            if _OLDEST <= version <= _newest():
                return "BTree"
            return f"Berkeley DB BTree of version {version}"
    return ""


def _newest() -> int:
    return 10 if db.version()[0] >= 6 else 9


def entries(directory: str, names: list[str]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of BTrees, recovered by the log that lies beside them, if any.

    Of a service that was killed, the last changes may be in the log only.

    Args:
        directory: has copies of the files and of their log, and nothing else.
        names: the BTrees in it.

    Raises:
        Damaged: they cannot be read; the text says what can be done.
    """
    environment = None
    databases: list[Any] = []
    try:
        if any(LOG.fullmatch(name) for name in os.listdir(directory)):
            environment = _recovered(directory)
        for name in names:
            path = os.path.join(directory, name)
            _check(path)
            database = db.DB(environment)
            databases.append(database)
            database.open(name if environment else path, flags=db.DB_RDONLY)
            yield from _walk(database, os.path.getsize(path))
    except db.DBError as error:
        words = str(error.args[-1]).replace(f"{directory}/", "")
        raise Damaged(f"it is damaged ({words}); {_SAVE}") from error
    finally:
        for handle in (*databases, *([environment] if environment else [])):
            handle.close()


def _check(path: str) -> None:
    """Check that libdb can read a file: some damage makes it crash, other loop for ever."""
    try:
        if check_file(path):
            drop_partial_page(path)
        check_pages(path)
    except Damaged as damage:
        raise Damaged(f"it is damaged ({damage}); {_SAVE}") from damage


def _recovered(directory: str) -> Any:
    environment = db.DBEnv()
    flags = db.DB_INIT_TXN | db.DB_INIT_MPOOL | db.DB_INIT_LOG | db.DB_PRIVATE
    try:
        environment.open(directory, flags | db.DB_CREATE | db.DB_RECOVER)
    except db.DBError as error:
        environment.close()
        raise Damaged(
            f"the log beside it cannot be recovered ({error.args[-1]}); {_DUMP}, or copy the "
            "database alone into another directory and import that, without its last changes"
        ) from error
    return environment


def _walk(database: Any, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries; a damaged file may link its pages into a circle."""
    most = size // 4
    with closing(database.cursor()) as cursor:
        entry = cursor.first()
        while entry:
            if not most:
                raise Damaged(f"its pages make no sense; {_DUMP}, with -R")
            most -= 1
            yield entry
            entry = cursor.next()
