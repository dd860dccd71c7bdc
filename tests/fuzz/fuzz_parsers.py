"""Feed bytes that atheris finds to every parser: python tests/fuzz/fuzz_parsers.py -runs=1000000.

The rules are those of test_fuzz_parsers.py; atheris (pip install atheris) looks for new paths
through the code where Hypothesis draws at random.
"""

from __future__ import annotations

import os
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["greylist"]):
    from greylist.commands.logs import pasted
    from greylist.commands.logs.maillog import Reader
    from greylist.protocol import RequestError, read_requests
    from greylist.settings import SettingsError, load
    from greylist.store.berkeley.record import Record
    from greylist.store.berkeley.salvage import scan
    from greylist.triplet import Triplet
    from greylist.whitelist.matcher import Patterns

FILE = tempfile.NamedTemporaryFile()  # noqa: SIM115 - lives as long as the process


def _file(data: bytes) -> str:
    FILE.seek(0)
    FILE.truncate()
    FILE.write(data)
    FILE.flush()
    os.utime(FILE.name, (1, 1))  # a file that has just changed would be waited for
    return FILE.name


def _protocol(data: bytes) -> None:
    pieces = iter([data[:7], data[7:]])
    try:
        list(read_requests(lambda: next(pieces, b""), len))
    except RequestError:
        pass


def _settings(data: bytes) -> None:
    try:
        load(_file(data))
    except SettingsError:
        pass


def _whitelist(data: bytes) -> None:
    Patterns(data).match(b"192.0.2.1/a@example.com/b@example.org")


def _values(data: bytes) -> None:
    for parse in (Triplet.unpack, Record.unpack):
        try:
            parse(data)
        except ValueError:
            pass


def _salvage(data: bytes) -> None:
    list(scan(_file(data)))


def _logs(data: bytes) -> None:
    lines = data.splitlines()
    reader = Reader()
    reader.read(lines, 1_800_000_000)
    reader.attempts()
    pasted.attempts(lines)


TARGETS = [_logs, _protocol, _settings, _whitelist, _values, _salvage]


def run(data: bytes) -> None:
    """Let the first byte choose the parser, and give it the rest."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()
