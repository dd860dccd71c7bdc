"""The filter as it follows its files: settings that change, modes, lists, headers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest
from responder_site import DEFER, PASS, REQUEST
from settled import write

from greylist import settings
from greylist.answer import Responder


def test_settings_are_read_again(site):
    """An edit of the settings file counts from the next request on, and says nothing."""
    filter = site.filter()
    assert filter.answer(REQUEST) == DEFER
    site.write("reply = wait\n")
    assert filter.answer(REQUEST) == b"action=defer_if_permit wait\n\n"
    site.write("delay = 0\n")
    assert filter.answer(REQUEST) == PASS
    filter.store.close()
    assert not [line for line in site.log.lines if "warning" in line]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("delay = soon\n", "greylist.cf:3: delay: bad time 'soon'"),
        ("mood = good\n", "greylist.cf:3: unknown setting 'mood'"),
        ("nonsense\n", "greylist.cf:3: 'nonsense' is not of the form"),
        ("delay = 3d\n", "delay is not shorter than retry_window"),
    ],
)
def test_an_edit_with_an_error(site, text, complaint):
    """An edit with an error keeps the old settings, all of them, and says so once."""
    site.write("reply = wait\n")
    filter = site.filter()
    assert filter.answer(REQUEST) == b"action=defer_if_permit wait\n\n"
    site.write(text)
    for _ in range(3):
        assert filter.answer(REQUEST) == b"action=defer_if_permit wait\n\n"
    warnings = [line for line in site.log.lines if "warning" in line]
    assert len(warnings) == 1
    assert complaint in warnings[0]
    assert warnings[0].endswith("keeping the settings as they were")
    site.write("reply = mended\n")
    assert filter.answer(REQUEST) == b"action=defer_if_permit mended\n\n"
    filter.store.close()


def test_a_settings_file_that_goes(site):
    """A settings file that is deleted keeps the old settings; its successor counts."""
    site.write("reply = wait\n")
    filter = site.filter()
    site.config.unlink()
    assert filter.answer(REQUEST) == b"action=defer_if_permit wait\n\n"
    warning = f"warning: cannot read {site.config}: No such file or directory; "
    assert site.log.lines[0] == warning + "keeping the settings as they were"
    site.write("reply = back\n")
    assert filter.answer(REQUEST) == b"action=defer_if_permit back\n\n"
    filter.store.close()


def test_options_outlast_an_edit(site):
    """What was given on the command line wins over the file, after an edit too."""
    configuration = settings.load(str(site.config))
    configuration.set("reply", "option")
    filter = Responder(configuration, site.log)
    site.write("reply = edited\nverbose = 1\n")
    assert filter.answer(REQUEST) == b"action=defer_if_permit option\n\n"
    assert site.log.verbose == 1
    filter.store.close()


def test_mode_learn(site):
    """Learning, the filter records, lets through, and logs what it would have done."""
    site.write("mode = learn\n")
    filter = site.filter()
    assert filter.answer(REQUEST) == PASS
    assert site.log.lines[-1].startswith("action=greylist, reason=new, mode=learn, client_name=")
    site.write("mode = greylist\n")
    assert filter.answer(REQUEST) == PASS  # what was let through has passed
    assert "reason=triplet found, " in site.log.lines[-1]
    filter.store.close()


def test_mode_off(site):
    """Switched off, the filter touches nothing: no database is made."""
    site.write("mode = off\n")
    filter = site.filter()
    assert filter.answer(REQUEST) == PASS
    assert filter.store is None
    assert list(site.data.iterdir()) == []
    site.write()
    assert filter.answer(REQUEST) == DEFER
    filter.store.close()


def test_lists(site):
    """The lists of postgrey and the opt-in list are followed, and their bad lines named."""
    clients, recipients, only = (site.directory / name for name in ("c", "r", "o"))
    clients.write_text("example.com\nbad line\n")
    recipients.write_text("b@\n")
    only.write_text("example.org\n")
    site.write(f"whitelist_clients = {clients}\n")
    filter = site.filter()
    assert filter.answer(REQUEST | {b"client_name": b"mail.example.com"}) == PASS
    assert (
        site.log.lines[0]
        == "warning: c:2: not a domain: letters, digits, dots and hyphens; line left out"
    )
    assert filter.answer(REQUEST) == DEFER
    site.write(f"whitelist_recipients = {recipients}\ngreylist_recipients = {only}\n")
    assert filter.answer(REQUEST) == PASS
    assert "reason=recipient whitelist" in site.log.lines[-1]
    assert filter.answer(REQUEST | {b"recipient": b"c@example.org"}) == DEFER
    assert filter.answer(REQUEST | {b"recipient": b"c@example.net"}) == PASS
    only.write_text("example.org\nexample.net\n")
    assert filter.answer(REQUEST | {b"recipient": b"c@example.net"}) == DEFER
    filter.store.close()


def test_a_list_that_is_not_there(site):
    """A list that the settings name has to be there; one for local additions need not."""
    site.write(f"whitelist_clients = {site.directory}/none {site.directory}/none.local\n")
    filter = site.filter()
    assert [filter.answer(REQUEST), filter.answer(REQUEST)] == [DEFER, DEFER]
    warnings = [line for line in site.log.lines if "warning" in line]
    path = site.directory / "none"
    assert warnings == [f"warning: {path} does not exist: nobody is on that list"]
    (site.directory / "none.local").write_text("192.0.2\n")
    assert filter.answer(REQUEST) == PASS
    filter.store.close()


def test_a_list_outlasts_an_edit_of_the_settings(site):
    """A list that cannot be read any more stays as it was, whatever else is edited."""
    whitelist = site.directory / "no"
    write(whitelist, "^192\\.0\\.2\\.1/\n")
    site.write()
    filter = site.filter()
    assert filter.answer(REQUEST) == PASS
    whitelist.unlink()
    whitelist.mkdir()
    assert filter.answer(REQUEST) == PASS
    site.write("# edited\n")
    assert filter.answer(REQUEST) == PASS


@pytest.mark.parametrize("name", ["no", "greylist.cf"])
def test_a_file_that_could_not_be_read_for_a_moment(site, monkeypatch, name):
    """What the machine had no descriptor for is read as soon as it has one again."""
    site.write()
    filter = site.filter()
    assert filter.answer(REQUEST) == DEFER
    (site.directory / "no").write_text("^192\\.0\\.2\\.1/\n" if name == "no" else "")
    site.write("mode = off\n" if name != "no" else "")
    real = os.open

    def refused(path, *arguments):
        if str(path).endswith(name):
            raise OSError(errno.EMFILE, "Too many open files", path)
        return real(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr("os.open", refused)
        assert filter.answer(REQUEST) == DEFER
    assert filter.answer(REQUEST) == PASS
    filter.store.close()


def test_files_with_a_mark(site):
    """The mark with which some editors begin a file is no part of it."""
    (site.directory / "no").write_text("^192\\.0\\.2\\.1/\n", encoding="utf-8-sig")
    site.write()
    site.config.write_text(site.config.read_text(), encoding="utf-8-sig")
    assert site.filter().answer(REQUEST) == PASS


def run(site, *requests):
    """Return the replies of one filter process to these requests."""
    lines = [b"".join(b"%s=%s\n" % item for item in what.items()) + b"\n" for what in requests]
    done = subprocess.run(
        [sys.executable, "-c", "from greylist import filter; filter.main()"],
        input=b"".join(lines),
        env={**os.environ, "GREYLIST_CONFIG": str(site.config)},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split(b"\n\n")[:-1]


def test_one_header_across_processes(site):
    """A message whose recipients are asked about by several filters gets one header."""
    site.write("header = yes\nhostname = mx.example.org\n")
    rcpt = [REQUEST | {b"recipient": b"r%d@example.org" % n, b"instance": b"1.2"} for n in range(4)]
    assert run(site, *rcpt) == [DEFER.strip()] * 4
    make_older(site, 400)
    replies = [run(site, what)[0] for what in rcpt]
    assert replies[0].startswith(b"action=PREPEND X-Greylist: delayed 40")
    assert b" seconds by greylist-" in replies[0]
    assert b" at mx.example.org; " in replies[0]
    assert replies[1:] == [PASS.strip()] * 3


def make_older(site, seconds):
    """Make the triplets older, as if that many seconds had gone by."""
    filter = site.filter()
    filter.answer(REQUEST)

    def shift(entries):
        for name, value in entries.after(b"0", 100):
            ctime, rest = value.split(b"/", 1)
            entries.put(name, b"%d/%s" % (int(ctime) - seconds, rest), 0)

    filter.store.transact(shift)
    filter.store.close()
