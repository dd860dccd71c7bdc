"""``greylist stats`` and ``greylist metrics``."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import stat
import subprocess
from unittest import mock

import pytest
from readable import NOBODY

from greylist.commands.report.html import render
from greylist.commands.report.statistics import Figures

from .mailhost import NOW

HOUR, DAY = 3600, 86400


def triplet(age, *, delay=0, tries=0):
    """Return the value of a triplet first seen ``age`` seconds ago."""
    first = NOW - age
    return b"%d/%d/%d" % (first, first + delay if tries else 0, tries)


@pytest.fixture
def stocked(host):
    """Return a host whose database has every case that is counted apart."""
    host.put(
        {
            b"192.0.2.0/a@example.com/b@example.org": triplet(60),
            b"192.0.2.0/c@example.com/b@example.org": triplet(30 * HOUR),
            b"198.51.100.0/a@example.net/b@example.org": triplet(30 * HOUR, delay=600, tries=1),
            b"198.51.100.0/b@example.net/b@example.org": triplet(31 * HOUR, delay=900, tries=1),
            b"198.51.100.0/c@example.net/b@example.org": triplet(32 * HOUR, delay=9000, tries=7),
            b"198.51.100.0//<script>@example.org": triplet(9 * DAY, delay=5000, tries=1),
        }
    )
    return host


def test_stats_count_what_is_stored(stocked):
    """Cohorts, days and delays are counted by their definitions."""
    figures = json.loads(stocked.run("stats", "--json").stdout)
    states = {"waiting": 2, "passed": 4, "known": 0, "trusted": 0, "credited": 0, "reply": 0}
    assert figures["states"] == {**states, "expired": 0}
    assert figures["settled"] == {"triplets": 4, "never_passed": 1}
    assert figures["old"] == {"triplets": 1, "never_passed": 0}
    assert figures["delays"] == {"triplets": 3, "p50": 900, "p90": 5000, "p99": 5000, "p100": 5000}
    assert [day["new"] for day in figures["days"]] == [1, 4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
    assert figures["days"][1] == {"new": 4, "passed": 3}
    assert figures["top_clients"][0] == ["198.51.100.0", 4]
    assert figures["top_senders_domains"][0] == ["example.net", 3]
    assert figures["bytes"] == os.path.getsize(stocked.database)


def test_stats_for_people(stocked):
    """A pipe gets no plot unless it is asked for, and no colour."""
    plain = stocked.run("stats").stdout
    assert re.search(r"^never came back +25\.0 %  of 4 ", plain, re.MULTILINE)
    assert re.search(r"^delay, median +15m ", plain, re.MULTILINE)
    assert "█" not in plain
    assert "\x1b" not in plain
    drawn = stocked.run("stats", "--plots").stdout
    assert re.search(r"1d ago █{40} 4$", drawn, re.MULTILINE)


def test_stats_of_nothing(host):
    """An empty database has figures too."""
    host.put({})
    assert "never came back" in host.run("stats", "--plots").stdout
    assert json.loads(host.run("stats", "--json").stdout)["delays"]["p50"] is None
    host.run("stats", "--html", host.path / "page.html")


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 2), (0.25, 1), (0.26, 2), (0.99, 4), (1.0, 4), (0.0, 1)]
)
def test_a_quantile_is_a_delay_that_occurred(stocked, share, expected):
    """The nearest rank, not a value between two."""
    figures = Figures([], stocked.settings, NOW)
    figures.delays = [1, 2, 3, 4]
    assert figures.quantile(share) == expected


def shown(browser, page, directory):
    """Return a page's document once its scripts have run."""
    flags = (
        "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --dump-dom"
    ).split()
    profile = f"--user-data-dir={directory / 'profile'}"
    done = subprocess.run(
        [browser, *flags, profile, page.as_uri()], capture_output=True, timeout=120, check=True
    )
    return done.stdout.decode()


MEASURE = """
<iframe id="page" width="{width}" height="3000" srcdoc="{page}"></iframe><pre id="result"></pre>
<script>
onload = () => {{
  const frame = document.getElementById("page"), inner = frame.contentDocument;
  const texts = [...inner.querySelectorAll("svg text")].map(
    (text) => [text.getBoundingClientRect(), text.textContent,
      text.closest("figure").getBoundingClientRect()]
  ).filter(([box, words]) => box.width && words);
  const overlaps = texts.filter(([one], place) => texts.slice(place + 1).some(
    ([two]) => one.left < two.right && two.left < one.right
      && one.top < two.bottom && two.top < one.bottom));
  document.getElementById("result").textContent = JSON.stringify({{
    low: Math.min(...texts.map(([box]) => box.height)),
    cut: texts.filter(([box, words, edge]) => box.left < edge.left || box.right > edge.right),
    count: texts.length, overlaps: overlaps.map(([, words]) => words),
    wide: inner.documentElement.scrollWidth }});
}};
</script>
"""


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_the_plots_can_be_read_on_a_telephone(stocked, width):
    """At any width, labels and numbers have their size, and stand side by side."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if not browser:
        pytest.skip("needs chromium")
    text = render(busy(stocked), 5)
    page = stocked.path / "frame.html"
    page.write_text(MEASURE.format(width=width, page=html.escape(text)))
    found = json.loads(re.search(r"<pre.*?>(.*?)</pre>", shown(browser, page, stocked.path))[1])
    assert found["low"] >= (9 if width < 352 else 11)
    assert found["overlaps"] == []
    assert found["cut"] == []
    assert found["wide"] <= width
    assert found["count"] == (2 * (14 + 9) if width > 640 else 14 + 9 + 5 + 5)


def busy(host):
    """Return figures whose bars all have a number of many digits."""
    figures = Figures([], host.settings, NOW)
    figures.days = [(123_456 - day, 50_000) for day in range(14)]
    figures.delays = [600] * 9
    figures.histogram = lambda: [9_876_543] * 9
    return figures


def test_the_page_stands_alone_in_a_browser(stocked):
    """A real browser shows the figures, with the network off, and no name becomes markup."""
    browser = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if not browser:
        pytest.skip("needs chromium")
    page = stocked.path / "page.html"
    stocked.run("stats", "--html", page)
    text = page.read_text()
    assert not re.search(r"https?:|src=|href=|@import|url\(", text)
    dom = shown(browser, page, stocked.path)
    assert dom.count("<rect") == 2 * 14 + 2 * 9
    assert '<div class="number">25.0 %</div>' in dom
    assert "<td>&lt;script&gt;@example.org</td>" in dom
    assert "<script" not in dom


def test_metrics_follow_prometheus(stocked):
    """Each metric has help and type before its samples, and each line parses."""
    text = stocked.run("metrics").stdout
    assert text.endswith("\n")
    declared = set()
    for line in text.splitlines():
        if declaration := re.fullmatch(r"# (HELP|TYPE) (greylist_[a-z_]+) (.+)", line):
            kind, name, words = declaration.groups()
            declared.add((kind, name))
            assert kind == "HELP" or words == "gauge"
        else:
            name = re.fullmatch(r'(greylist_[a-z_]+)(?:\{\w+="[^"]*"\})? -?\d+(?:\.\d+)?', line)[1]
            assert {("HELP", name), ("TYPE", name)} <= declared
    assert 'greylist_entries{state="passed"} 4' in text
    assert 'greylist_delay_seconds{quantile="0.5"} 900' in text
    assert "greylist_settled_stopped_triplets 1" in text


def test_metrics_replace_their_file_at_once(stocked):
    """The file is new, readable for the collector, and nothing is left beside it."""
    directory = stocked.path / "collector"
    directory.mkdir()
    target = directory / "greylist.prom"
    target.write_text("old")
    before = target.stat().st_ino
    stocked.run("metrics", "--output", target)
    assert target.stat().st_ino != before
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert os.listdir(directory) == ["greylist.prom"]
    result = stocked.run("metrics", "--output", stocked.path / "no" / "where", code=1)
    assert "No such file" in result.stderr


def test_metrics_replace_no_device(stocked):
    """A link is replaced itself, a FIFO is written to, and a failure leaves nothing."""
    directory = stocked.path / "collector"
    directory.mkdir()
    link, target, fifo = (directory / name for name in ("link", "target", "fifo"))
    target.write_text("precious")
    link.symlink_to(target)
    stocked.run("metrics", "--output", link)
    assert target.read_text() == "precious"
    assert link.read_text().startswith("# HELP")
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    stocked.run("metrics", "--output", fifo)
    assert os.read(reader, 6) == b"# HELP"
    os.close(reader)
    assert "Is a directory" in stocked.run("metrics", "--output", directory, code=1).stderr
    with mock.patch("os.rename", side_effect=OSError(28, "No space left on device")):
        assert "No space left" in stocked.run("metrics", "--output", target, code=1).stderr
    assert sorted(os.listdir(directory)) == ["fifo", "link", "target"]
    assert not link.is_symlink()
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_a_file_keeps_its_mode(stocked):
    """A page that was for a few stays for a few."""
    page = stocked.path / "page.html"
    page.touch(0o640)
    page.chmod(0o640)
    stocked.run("stats", "--html", page)
    assert page.read_text().startswith("<!DOCTYPE")
    assert stat.S_IMODE(page.stat().st_mode) == 0o640


@pytest.mark.parametrize("how", ["stdout", "redirected"])
def test_metrics_to_a_stream(stocked, tmp_path, how):
    """Standard output by its name is written to, also where it is a file."""
    command = ("metrics", "--output", "/dev/stdout")
    if how == "stdout":
        text = stocked.script(*command).stdout
    else:
        with open(tmp_path / "out", "wb") as file:
            stocked.script(*command, stdout=file)
        text = (tmp_path / "out").read_bytes()
    assert text.startswith(b"# HELP")
    assert os.path.islink("/dev/stdout")


@pytest.mark.root
@pytest.mark.parametrize("place", ["file", "directory"])
def test_root_follows_no_other_users_link(stocked, place):
    """Neither at the end of the way nor on it; and what root writes is not in another's hands."""
    theirs, precious = stocked.path / "theirs", stocked.path / "precious"
    theirs.mkdir()
    precious.mkdir(0o700)
    secret = precious / "greylist.prom"
    secret.write_text("precious")
    secret.chmod(0o600)
    link = theirs / ("greylist.prom" if place == "file" else "out")
    link.symlink_to(secret if place == "file" else precious)
    for path in (theirs, link):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid, follow_symlinks=False)
    path = link if place == "file" else link / "greylist.prom"
    result = stocked.run("metrics", "--output", path, code=0 if place == "file" else 1)
    assert secret.read_text() == "precious"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    if place == "file":
        assert link.read_text().startswith("# HELP")
    else:
        assert "another user's symbolic link" in result.stderr
        assert os.listdir(precious) == ["greylist.prom"]
