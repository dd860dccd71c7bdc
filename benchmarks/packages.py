"""The peers' Debian packages, and what this machine is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata

PACKAGES = {
    "postfix": "/usr/sbin/postfix",
    "postfix-doc": "/usr/share/doc/postfix/examples/smtpd-policy/greylist.pl",
    "libdb-file-lock-perl": "/usr/share/perl5/DB_File/Lock.pm",
    "postgrey": "/usr/sbin/postgrey",
    "sqlgrey": "/usr/sbin/sqlgrey",
    "libdbd-sqlite3-perl": "",
    "libfaketime": "",
    "redis-server": "/usr/bin/redis-server",
}
"""A file of each package whose presence is looked for, where its name is not enough."""


_POLICY = "/usr/sbin/policy-rc.d"
"""What forbids packages to start their daemons, when it exits with 101 (Debian's invoke-rc.d)."""


def install() -> None:
    """Install the packages that are missing; none of their daemons is started.

    Raises:
        subprocess.CalledProcessError: apt could not.
    """
    missing = [name for name, file in PACKAGES.items() if not _there(name, file)]
    if not missing:
        return
    print("installing", *missing, file=sys.stderr)
    # Without a configuration of its own Postfix stays idle; the benchmarks bring theirs.
    answer = b"postfix postfix/main_mailer_type select No configuration\n"
    subprocess.run(["debconf-set-selections"], check=True, input=answer)
    apt = ["apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    subprocess.run([*apt, "update"], check=True, stdout=sys.stderr)
    # Where dpkg drops documentation, as in containers, it would drop the example too.
    keep = ["-o", "Dpkg::Options::=--path-include=/usr/share/doc/postfix/*"]
    install = [*apt, *keep, "install", "--no-install-recommends", "--reinstall", "-y", *missing]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    ours = not os.path.exists(_POLICY)
    if ours:
        with open(_POLICY, "w", encoding="ascii") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(_POLICY, 0o755)
    try:
        subprocess.run(install, check=True, stdout=sys.stderr, env=environment)
    finally:
        if ours:
            os.unlink(_POLICY)


def _there(name: str, file: str) -> bool:
    return (not file or os.path.exists(file)) and bool(version(name))


def version(package: str) -> str:
    """Return the installed version of a Debian package, or nothing."""
    found = subprocess.run(
        ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    return found[1] if found[:1] == ["installed"] else ""


def machine(directory: str) -> list[str]:
    """Return what the numbers depend on, in words; no names of hosts or paths."""
    perl = subprocess.run(
        ["perl", "-e", "print $^V"], capture_output=True, text=True, check=True
    ).stdout
    ours = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("greylist", "bsddb3", "google-re2")
    )
    return [
        f"{_cpu()}, {os.cpu_count()} cores, {_memory()} GiB of memory",
        f"{platform.system()} {platform.release()}, databases on {_file_system(directory)}",
        f"Python {platform.python_version()}, {ours}",
        f"Perl {perl}, "
        + ", ".join(f"{name} {version(name)}" for name in ("libdb5.3", "libsqlite3-0")),
        ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]


def _cpu() -> str:
    with open("/proc/cpuinfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _memory() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def _file_system(directory: str) -> str:
    """Return the type of the file system that holds a directory."""
    device = os.stat(directory).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if fields[2] == number:
                return fields[fields.index("-") + 1]
    return "an unknown file system"
