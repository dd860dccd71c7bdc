"""Postfix's two files, as a host that runs greylist has them."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import threading

import pytest

MASTER = (
    "smtp inet n - n - - smtpd\ngreylist unix - n {chroot} - {limit} spawn user={user} {argv}\n"
)
MAIN = """\
compatibility_level = 3.6
myhostname = mx.example.org
mydomain = example.org
smtpd_relay_restrictions = permit_mynetworks, {relay}
queue_directory = {queue}
smtpd_recipient_restrictions =
    permit_mynetworks
    reject_unlisted_recipient
    {guard}
    check_policy_service {call}
greylist_time_limit = {time}
{more}
"""
GOOD = {
    "chroot": "n",
    "limit": "0",
    "relay": "reject_unauth_destination",
    "guard": "reject_unauth_destination",
    "call": "{ unix:private/greylist, default_action=DUNNO, timeout=10s }",
    "time": "3600",
    "more": "",
}


def postfix(host, program, **changes):
    """Write Postfix's two files, good but for the changes; the filter is this program."""
    if not shutil.which("postconf") and not os.path.exists("/usr/sbin/postconf"):
        pytest.skip("needs Postfix")
    queue, argv = host.path / "queue", f"argv={program} --config {host.config}"
    values = GOOD | {"user": user(), "argv": argv, "queue": queue} | changes
    directory = host.path / "postfix"
    directory.mkdir(exist_ok=True)
    (directory / "master.cf").write_text(MASTER.format(**values))
    (directory / "main.cf").write_text(MAIN.format(**values))
    # Postfix waits until a file that has just changed is at rest.
    os.utime(directory / "main.cf", (1_500_000_000, 1_500_000_000))


def user():
    """Return whom the filter runs as: the tester, or nobody when that is root."""
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def hand_over(host):
    """Give the database to the filter's user, who can reach it."""
    if os.geteuid() != 0:
        return
    owner = pwd.getpwnam(user())
    for path in [host.database.parent, *host.database.parent.rglob("*")]:
        os.chown(path, owner.pw_uid, owner.pw_gid)


class Spawner:
    """spawn(8)'s part: for each connection to the service's socket, a filter on it."""

    def __init__(self, host, program):
        private = host.path / "queue" / "private"
        private.mkdir(parents=True)
        self._command = [program, "--config", host.config]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(str(private / "greylist"))
        self._socket.listen()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        identity = {"user": user(), "group": _user_group(), "extra_groups": []}
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                subprocess.run(
                    self._command,
                    stdin=connection,
                    stdout=connection,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    cwd="/",
                    **(identity if os.geteuid() == 0 else {}),
                )

    def close(self):
        """Listen no more; the socket's file stays, as that of a Postfix that was stopped."""
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def _user_group():
    return pwd.getpwnam(user()).pw_gid
