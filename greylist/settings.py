"""The settings: ``name = value`` lines, their defaults, and what each may be.

The file has the form of Postfix's main.cf (postconf(5)): a ``#`` as the first character of a
line starts a comment, and a line that starts with white space continues the one before it.
Times are written as there: ``300``, ``300s``, ``5m``, ``12h``, ``2d``, ``1w``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEFAULT_PATH = "/etc/postfix/greylist.cf"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

FACILITIES = (
    "auth authpriv cron daemon ftp kern lpr mail news syslog user uucp "
    "local0 local1 local2 local3 local4 local5 local6 local7"
).split()
"""The names of syslog(3)'s facilities."""


class SettingsError(ValueError):
    """A setting is unknown, malformed or out of range."""


def parse_time(text: str) -> int:
    """Return a time in seconds: a number with an optional unit s, m, h, d or w.

    Raises:
        SettingsError: the text is no such time.
    """
    number, unit = (text[:-1], text[-1]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit() and len(number) <= 9):
        raise SettingsError(f"bad time {text!r}: use a number and s, m, h, d or w, such as 5m")
    return int(number) * _UNITS[unit]


def _lock_time(text: str) -> int:
    seconds = parse_time(text)
    if not 1 <= seconds <= 3600:
        raise SettingsError(f"{text!r} is out of range: use 1s to 1h")
    return seconds


def _yes_or_no(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise SettingsError(f"{text!r} is neither yes nor no")
    return text == "yes"


def _path(text: str) -> str:
    if not text.startswith("/"):
        raise SettingsError(f"{text!r} is not an absolute path")
    return text


def _facility(text: str) -> str:
    if text not in FACILITIES:
        raise SettingsError(f"unknown syslog facility {text!r}")
    return text


def _level(text: str) -> int:
    if text not in {"0", "1", "2", "3"}:
        raise SettingsError(f"{text!r} is out of range: use 0 to 3")
    return int(text)


def _reply_text(text: str) -> str:
    if not text or not text.isprintable():
        raise SettingsError(f"{text!r} is not a line of printable text")
    return text


class Setting:
    """One setting: its name, its default as written in the file, and what it means."""

    __slots__ = ("default", "help", "name", "parse")

    def __init__(self, name: str, default: str, parse: Callable[[str], object], help: str) -> None:
        self.name = name
        self.default = default
        self.parse = parse
        self.help = help


SETTINGS = (
    Setting("database", "/var/lib/greylist/greylist.db", _path,
            "The database. Its directory must belong to the filter's user."),
    Setting("whitelist", "/etc/postfix/nogreylist", _path,
            "Who is never greylisted: regular expressions, one a line."),
    Setting("delay", "300s", parse_time,
            "How long a new triplet has to wait before it is let through."),
    Setting("retry_window", "2d", parse_time,
            "How long a new triplet may take to come back."),
    Setting("durable", "no", _yes_or_no,
            "Sync each update to the disk. Otherwise a power cut may lose the last moments; "
            "a killed filter loses nothing either way."),
    Setting("lock_timeout", "5s", _lock_time,
            "How long a request waits for the database's lock before the filter hangs up. "
            "Keep it below the time-out in main.cf."),
    Setting("syslog_facility", "mail", _facility,
            "The syslog facility to log to."),
    Setting("verbose", "0", _level,
            "How much to log: 1 decisions with their entries, 2 look-ups and actions, "
            "3 attributes and the whitelist too."),
    Setting("reply", "Service is temporarily unavailable", _reply_text,
            "The text a deferred client sees."),
)  # fmt: skip
"""Every setting, in the order in which the manual shows them."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings:
    """The settings in force. Times are in seconds.

    Attributes:
        path: the file that was read, empty when there was none.
    """

    database: str
    whitelist: str
    delay: int
    retry_window: int
    durable: bool
    lock_timeout: int
    syslog_facility: str
    verbose: int
    reply: str

    def __init__(self) -> None:
        self.path = ""
        for setting in SETTINGS:
            setattr(self, setting.name, setting.parse(setting.default))

    def set(self, name: str, value: str) -> None:
        """Set a setting from its text.

        Raises:
            SettingsError: there is no such setting, or it cannot have this value.
        """
        setting = _BY_NAME.get(name)
        if setting is None:
            raise SettingsError(f"unknown setting {name!r}")
        try:
            setattr(self, name, setting.parse(value))
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from None

    @property
    def defer(self) -> bytes:
        """The action for a client that has to come back."""
        return b"defer_if_permit " + self.reply.encode()


def load(path: str | None = None) -> Settings:
    """Return the settings of a file.

    Args:
        path: the file, which must exist; without one, what GREYLIST_CONFIG names, or else
            DEFAULT_PATH, which need not exist.

    Raises:
        SettingsError: names the file, the line and what is wrong with it.
        OSError: the file cannot be read.
    """
    settings = Settings()
    given = path or os.environ.get("GREYLIST_CONFIG")
    name = given or DEFAULT_PATH
    try:
        with open(name, encoding="utf-8", errors="surrogateescape") as file:
            lines = logical_lines(file)
    except FileNotFoundError:
        if given:
            raise
        return settings
    settings.path = name
    for number, line in lines:
        key, equals, value = line.partition("=")
        try:
            if not equals or not key.strip():
                raise SettingsError(f"{line.strip()!r:.100} is not of the form 'name = value'")
            settings.set(key.strip(), value.strip())
        except SettingsError as error:
            raise SettingsError(f"{name}:{number}: {error}") from None
    return settings


def logical_lines(lines: Iterable[str]) -> list[tuple[int, str]]:
    """Return the lines that are no comments, continued ones joined, with their numbers.

    As in main.cf, comments and blank lines may stand between a line and its continuation.
    """
    logical: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0].isspace() and logical:
            first, start = logical[-1]
            logical[-1] = (first, start.rstrip() + " " + line.strip())
        else:
            logical.append((number, line))
    return logical
