"""Postfix's two files, as a host that runs greylist has them."""

from __future__ import annotations

import os
import pwd
import shutil

import pytest

MASTER = "greylist unix - n {chroot} - {limit} spawn user={user} {argv}\n"
MAIN = """\
compatibility_level = 3.6
myhostname = mx.example.org
mydomain = example.org
smtpd_relay_restrictions = permit_mynetworks, {relay}
smtpd_recipient_restrictions =
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
    values = GOOD | {"user": _user(), "argv": f"argv={program}"} | changes
    directory = host.path / "postfix"
    directory.mkdir(exist_ok=True)
    (directory / "master.cf").write_text(MASTER.format(**values))
    (directory / "main.cf").write_text(MAIN.format(**values))
    # Postfix waits until a file that has just changed is at rest.
    os.utime(directory / "main.cf", (1_500_000_000, 1_500_000_000))


def _user():
    """Return whom the filter runs as: the tester, or nobody when that is root."""
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def hand_over(host):
    """Give the database to the filter's user, who can reach it."""
    if os.geteuid() != 0:
        return
    user = pwd.getpwnam(_user())
    for path in [host.database.parent, *host.database.parent.rglob("*")]:
        os.chown(path, user.pw_uid, user.pw_gid)
