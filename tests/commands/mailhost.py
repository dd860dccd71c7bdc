"""A mail host for the commands: a settings file, a database, and the installed script."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from click.testing import CliRunner
from settled import write

from greylist import settings as settings_module
from greylist.cli import cli
from greylist.commands.session import opened

NOW = 1_800_000_000
SCRIPT = os.path.join(os.path.dirname(sys.executable), "greylist")


@contextlib.contextmanager
def place():
    """Make a directory that other users can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="greylist-test-", dir="/tmp") as directory:
        os.chmod(directory, 0o711)
        yield Path(directory)


class Host:
    """A directory that holds what a mail host's /etc/postfix and /var/lib/greylist do."""

    def __init__(self, path):
        self.path = path
        self.database = path / "db" / "greylist.db"
        self.database.parent.mkdir(mode=0o700)
        self.whitelist = path / "nogreylist"
        write(self.whitelist, "# nobody\n")
        self.config = path / "greylist.cf"
        self.configure()

    def configure(self, *lines):
        """Write the settings' file anew, with these lines added."""
        text = [f"database = {self.database}", f"whitelist = {self.whitelist}", *lines]
        write(self.config, "\n".join(text) + "\n")

    @property
    def settings(self):
        """The settings as the filter would read them."""
        return settings_module.load(str(self.config))

    def put(self, entries):
        """Store entries, as bytes under bytes."""
        with opened(self.settings, create=True) as store:
            store.transact(lambda e: [e.put(key, value, 0) for key, value in entries.items()])

    def all(self):
        """Return what is stored."""
        with opened(self.settings) as store:
            return dict(store.transact(lambda e: e.after(b"", 100_000)))

    def run(self, *args, code=0, **options):
        """Run a command within this process; return click's result, which has this code or any."""
        command = ["--config", str(self.config), *map(str, args)]
        result = CliRunner().invoke(cli, command, prog_name="greylist", **options)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert code in {None, result.exit_code}, result.output
        return result

    def script(self, *args, **options):
        """Run the installed script; return the finished process."""
        environment = {**os.environ, "GREYLIST_CONFIG": str(self.config), "TZ": "UTC"}
        return subprocess.run(
            [SCRIPT, *map(str, args)],
            env=environment,
            timeout=60,
            check=False,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options},
        )
