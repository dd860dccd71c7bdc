"""What root opens, and as whom: each file that a command run as root opens, renames or deletes.

    python -m tests.reliability.opened      (as root)

The database's directory belongs to nobody, as it would to the filter's user. Each command runs
under strace; a file counts as opened by the user whom the process acts as then. What every
Python opens for itself, its modules and the C library's files are left out.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from bsddb3 import db

from tests.readable import NOBODY
from tests.reliability.corruption import mark_dirty
from tests.reliability.harness import House, key

if TYPE_CHECKING:
    from collections.abc import Iterable

CALLS = "open,openat,creat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir"
IDENTITY = "setuid,setreuid,setresuid,clone,clone3,fork,vfork"

_STEPS = {"/", "", ".", "..", "/dev", "/dev/urandom", "/etc/nsswitch.conf", "/etc/passwd"}
"""Steps on a way, and what tells a user's name."""

_CALL = re.compile(r"(\d+) +(\w+)\((.*?)(?:\) += (-?\d+).*)?$")
_UNFINISHED = re.compile(r"(?P<start>(?P<pid>\d+) +.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)$")
_NAME = re.compile(r'"((?:[^"\\]|\\.)*)"')

_SYSTEM = (
    *{sys.prefix, sys.base_prefix, *map(os.path.realpath, (sys.prefix, sys.base_prefix))},
    *{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")},
    str(Path(__file__).parents[2]),
    "/lib", "/usr/lib", "/usr/share/locale", "/etc/ld.so", "/etc/localtime", "/dev/null",
    "/proc/self", "/proc/filesystems", "/sys/", "pyvenv.cfg", "/usr/bin/pyvenv.cfg",
)  # fmt: skip

COMMANDS = {
    "the filter": [],
    "check": ["check"],
    "explain": ["explain", "--client-address", "192.0.2.1", "--recipient", "r@example.org"],
    "list": ["list"],
    "stats --html": ["stats", "--html", "{output}"],
    "metrics --output": ["metrics", "--output", "{output}"],
    "replay": ["replay", "{log}"],
    "whitelist": ["whitelist", "{log}"],
    "pass": ["pass", "nobody@example.com"],
    "forget": ["forget", "nobody@example.com"],
    "purge": ["purge"],
    "dump": ["dump"],
    "load": ["load"],
    "import": ["import", "{foreign}"],
    "list, after a filter's death": ["list"],
}


class Place:
    """A host: nobody's database, root's settings and lists, another user's database to import."""

    def __init__(self, directory: Path) -> None:
        os.chmod(directory, 0o755)
        self.house = House(directory)
        self.house.configure(whitelist_clients=directory / "clients", auto_whitelist=5)
        (directory / "nogreylist").write_text("^10\\.\n")
        (directory / "clients").write_text("example.net\n")
        line = "Nov 25 10:00:00 mx postfix/smtpd[7]: NOQUEUE: reject: RCPT from "
        line += (
            "mail.example.com[192.0.2.1]: 450 4.2.0 <r@example.org>: Recipient address rejected: "
        )
        line += "Service is temporarily unavailable; from=<a@example.com> to=<r@example.org> "
        line += "proto=ESMTP helo=<mail.example.com>\n"
        (directory / "mail.log").write_text(line * 2)
        self.names = {
            "output": directory / "output" / "file",
            "log": directory / "mail.log",
            "foreign": directory / "foreign" / "pl.db",
        }
        for name in ("output", "foreign", "tmp"):
            (directory / name).mkdir()
        (directory / "tmp").chmod(0o1777)
        database = db.DB()
        database.open(str(self.names["foreign"]), dbtype=db.DB_BTREE, flags=db.DB_CREATE)
        database.put(key(1), b"1900000000/0/0")
        database.close()
        for path in (self.house.data, directory / "foreign", self.names["foreign"]):
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)

    def trace(self, arguments: list[str]) -> Iterable[str]:
        """Run a command of root's; yield the lines of its trace."""
        directory = self.house.directory
        command = ["strace", "-f", "-qq", "-s", "4096", "-e", "signal=none"]
        command += ["-e", f"trace={CALLS},{IDENTITY}", "-o", str(directory / "trace")]
        command += [sys.executable, "-m", "greylist", *(a.format(**self.names) for a in arguments)]
        request = (
            b"request=smtpd_access_policy\nclient_address=192.0.2.1\nsender=s@example.com\n"
            b"recipient=r@example.org\n\n"
        )
        text = request if not arguments else b"192.0.2.1/a/b\t1900000000/0/0\n"
        subprocess.run(
            command,
            input=text,
            env={
                **os.environ,
                "GREYLIST_CONFIG": str(self.house.config),
                "TMPDIR": str(directory / "tmp"),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        self.house.wait_for_repair()
        os.chown(f"{self.house.path}.repair", NOBODY.pw_uid, NOBODY.pw_gid)
        return (directory / "trace").read_text(errors="replace").splitlines()


def joined(lines: Iterable[str]) -> list[str]:
    """Return the calls of a trace in the order in which they began, each in one piece.

    strace writes two where another process's call comes between the start and the end of one: of
    a fork, the child's first calls.
    """
    calls: list[str] = []
    begun: dict[str, int] = {}
    for line in lines:
        if found := _UNFINISHED.match(line):
            begun[found["pid"]] = len(calls)
            calls.append(found["start"])
        elif (found := _RESUMED.match(line)) and found["pid"] in begun:
            calls[begun.pop(found["pid"])] += found["rest"]
        else:
            calls.append(line)
    return calls


def opened(lines: Iterable[str]) -> dict[str, set[str]]:
    """Return the names that root and others used, by ``root`` and ``owner``."""
    acting: dict[str, int] = defaultdict(int)
    names: dict[str, set[str]] = {"root": set(), "owner": set()}
    for line in joined(lines):
        found = _CALL.match(line)
        if not found:
            continue
        pid, call, rest, result = found.groups()
        if call in {"clone", "clone3", "fork", "vfork"} and result and int(result) > 0:
            acting[result] = acting[pid]
        elif call in {"setuid", "setreuid", "setresuid"} and result == "0":
            user = [int(part) for part in rest.split(",")][0 if call == "setuid" else 1]
            acting[pid] = acting[pid] if user < 0 else user
        elif call in CALLS.split(",") and result and int(result) >= 0:
            names["owner" if acting[pid] else "root"].update(_NAME.findall(rest))
    return names


_KINDS = (
    (r"__db\.00\d", "__db.N"),
    (r"log\.\d{10}", "log.N"),
    (r"\.env/\.\./greylist\.db$", ""),
    (r"\.env/\.\./\w{8}\.\w{8}$", ".env/.. (libdb's temporary)"),
    (r"^tmp/greylist[^/]*(/.*)?$|^log\.N$|^pl\.db$", "a copy in TMPDIR"),
    (r"^\.file\.\w{16}$|^file$", "output/file"),
)
"""Names that differ from one run to the next, and what is shown for them."""


def shown(names: set[str], place: Place) -> list[str]:
    """Return names for the table, without those of the system's, one for many of a kind."""
    directory = f"{place.house.directory}/"
    steps = {*_STEPS, "data", "tmp", "output", place.house.directory.name}
    rest = set()
    for name in names:
        if name.startswith(_SYSTEM) or re.fullmatch(r".*tmp/\w{8}", name):
            continue
        short = name.replace(directory, "").replace("data/", "")
        for pattern, text in _KINDS:
            short = re.sub(pattern, text, short)
        rest.add(short)
    return sorted(rest - steps)


def used(directory: Path) -> Iterable[tuple[str, list[str], list[str]]]:
    """Yield each command, and what it opens as root and as the owner."""
    place = Place(directory)
    for name, arguments in COMMANDS.items():
        if "death" in name:
            mark_dirty(place.house)
        names = opened(place.trace(arguments))
        yield name, shown(names["root"], place), shown(names["owner"], place)


def main() -> None:
    """Print the table."""
    if os.geteuid() != 0:
        sys.exit("run this as root")
    print("| command | as root | as the owner of the directory |")
    print("| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        for name, *columns in used(Path(directory)):
            cells = [", ".join(f"`{file}`" for file in files) or "-" for files in columns]
            print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
