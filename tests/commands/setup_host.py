"""A host whose Postfix has not heard of greylist: its two files, and how to set it up."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess

import pytest

from .postfix_files import user as filter_user

MASTER = "smtp inet n - y - - smtpd\nsubmission inet n - y - - smtpd\n"
POSTCONF = shutil.which("postconf") or "/usr/sbin/postconf"

needs_postconf = pytest.mark.skipif(not os.path.exists(POSTCONF), reason="needs Postfix")


class SetupHost:
    """A host with a Postfix's two files.

    Attributes:
        host: its files of greylist, of which there are none at first.
        etc: where main.cf and master.cf are.
    """

    def __init__(self, host, program):
        self.host = host
        self.etc = host.path / "etc"
        self.etc.mkdir()
        self._program = program
        # Its own directory is not made yet: setup does that.
        host.database.parent.rmdir()
        host.config.unlink()
        host.whitelist.unlink()

    def write(self, main, master=MASTER):
        """Write Postfix's files."""
        text = f"compatibility_level = 3.6\nmail_owner = postfix\n{main}\n"
        (self.etc / "main.cf").write_text(text)
        (self.etc / "master.cf").write_text(master)
        self._settle()

    def _settle(self):
        for path in self.etc.glob("main.cf"):
            os.utime(path, (1_500_000_000, 1_500_000_000))

    def command(self, *arguments, settings=None, user=None):
        """Return the command line of a set-up with such settings as options."""
        settings = settings or {"database": self.host.database, "whitelist": self.host.whitelist}
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        places = ["--user", user or filter_user(), "--postfix", self.etc, "--units", self.host.path]
        command = [self._program, "--config", self.host.config, *options, "setup", *places]
        return [str(word) for word in (*command, *arguments)]

    def setup(self, *arguments, code=0, settings=None, user=None, identity=None, **how):
        """Set it up, as somebody else if need be; return what is printed."""
        self._settle()
        done = subprocess.run(
            self.command(*arguments, settings=settings, user=user),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            **{"umask": 0o022, **how, **(identity or {})},
        )
        assert done.returncode in ({0, 1} if code is None else {code}), done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def postconf(self, *arguments):
        """Return what postconf prints."""
        command = [POSTCONF, "-c", self.etc, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def meaning(self):
        """Return what Postfix makes of its files; a blank or a comma is the same to it."""
        texts = [self.postconf(option).replace(",", " ") for option in ("-n", "-M", "-P")]
        return [" ".join(text.split()) for text in texts]

    def state(self):
        """Return every file of the host."""
        return {
            path.relative_to(self.host.path): path.read_bytes()
            for path in sorted(self.host.path.rglob("*"))
            if path.is_file()
        }


def full_disk():
    """Have this process write no file longer than a few bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
