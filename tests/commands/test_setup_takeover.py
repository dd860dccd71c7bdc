"""``greylist setup --from``: in the place of the real postgrey or sqlgrey, while mail flows."""

from __future__ import annotations

import re
import threading
import time

import pytest

from .test_first_hour import (
    KNOWN,
    STRANGERS,
    WAITING,
    Host,
    attempt,
    behind_postgrey,
    behind_sqlgrey,
    harness,
    readable,
)

pytestmark = [
    pytest.mark.postfix,
    pytest.mark.skipif(bool(harness.unavailable()), reason=harness.unavailable()),
]


class Mail:
    """Mail of somebody who is known, again and again, and how it is answered."""

    def __init__(self, postfix):
        self._postfix = postfix
        self._stop = threading.Event()
        self.codes = []

    def _run(self):
        while not self._stop.is_set():
            self.codes.append(attempt(self._postfix, KNOWN[0]))

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()


class Newcomer(Host):
    """A host that has never had greylist, and is set up in the place of its old service."""

    def __init__(self, postfix, name):
        super().__init__(postfix, name)
        self.etc = postfix.directory / "etc"
        self.config = postfix.directory / "greylist.cf"
        self.config.unlink()
        postfix.whitelist.unlink()
        for arguments in (
            ["-X", "smtpd_recipient_restrictions", "greylist_time_limit"],
            ["-MX", "greylist/unix", f"127.0.0.1:{postfix.policy_port}/inet"],
        ):
            readable.as_root("postconf", "-c", self.etc, *arguments)

    def setup(self, *arguments, check=True):
        """Set it up as root; return what is printed."""
        settings = {"database": self.data / "greylist.db", "whitelist": self.postfix.whitelist}
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        places = ["--postfix", self.etc, "--units", self.postfix.directory, "--user", "nobody"]
        return self.command(
            "greylist", *options, "--delay", "2s", "setup", *places, *arguments, check=check
        )

    def state(self):
        """Return Postfix's files, the settings and the list."""
        files = [*self.etc.glob("*.cf"), self.config, self.postfix.whitelist]
        return {path: path.read_text() for path in files if path.exists()}

    def meaning(self):
        """Return what Postfix makes of its files."""
        texts = [self.command("postconf", "-c", self.etc, option) for option in ("-n", "-M")]
        return [" ".join(text.split()) for text in texts]


def changes(printed, word):
    """Return the changes that were made, or would be."""
    return re.findall(rf"(?m)^{word} +(\S.*)", printed)


@pytest.mark.parametrize(
    ("origin", "behind"), [("postgrey", behind_postgrey), ("sqlgrey", behind_sqlgrey)]
)
def test_in_its_place(origin, behind):
    """Who was known is never deferred, a dry run tells all, and --remove leaves nobody asked."""
    with harness.Postfix() as postfix:
        host = Newcomer(postfix, behind.__name__)
        with behind(host) as service:
            host.ask("{ unix:private/other, default_action=DUNNO }")
            without = host.meaning()
            host.ask(service)
            assert {attempt(postfix, mail) for mail in KNOWN} == {450}
            time.sleep(1.1)
            assert {attempt(postfix, mail) for mail in KNOWN} == {250}
            assert attempt(postfix, WAITING) == 450
            take_over = ["--from", origin, "--from-options", host.options]
            take_over += ["--from-database", host.old]

            before = host.state()
            shown = host.setup(*take_over, "--dry-run")
            assert host.state() == before
            assert host.command("find", host.data, "-type", "f") == ""

            with Mail(postfix) as mail:
                told = host.setup(*take_over)
            assert set(mail.codes) == {250}
            assert "\n0 errors" in told
            assert changes(told, "do") == changes(shown, "would do")
            assert f"systemctl disable --now {origin}" in told
            after = host.state()
            assert "0 added" in host.setup(*take_over)
            assert host.state() == after

        # Nobody listens there any more, and nobody is asked there.
        others = [(*mail[:3], "dora@example.org") for mail in KNOWN]
        assert [attempt(postfix, mail) for mail in [*KNOWN, *others]] == [250] * 6
        assert {attempt(postfix, mail) for mail in STRANGERS} == {450}
        assert attempt(postfix, WAITING) == 250

        host.setup("--remove")
        call = "check_policy_service { unix:private/other, default_action=DUNNO }"
        assert host.meaning() == [text.replace(f", {call}", "") for text in without]
        assert {attempt(postfix, mail) for mail in STRANGERS} == {250}
        assert not re.search(r"fatal|panic| 451 ", postfix.log())
