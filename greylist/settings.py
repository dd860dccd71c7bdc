"""The settings: ``name = value`` lines, their defaults, and what each may be.

The file has the form of Postfix's main.cf (postconf(5)): a ``#`` as the first character of a
line starts a comment, and a line that starts with white space continues the one before it.
Times are written as there: ``300``, ``300s``, ``5m``, ``12h``, ``2d``, ``1w``.
"""

from __future__ import annotations

import os

from greylist.addresses import parse_address
from greylist.watched_file import File

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_REPLY_MAX = 400
"""Characters of a reply: with its codes and what stands for a domain, the line of a reply has 512
at most (RFC 5321, section 4.5.3.1.5)."""

DEFAULT_PATH = "/etc/postfix/greylist.cf"

_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_/"

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


def _window(text: str) -> int:
    seconds = parse_time(text)
    if seconds < 60:
        raise SettingsError(f"{text!r} is out of range: use 1m or more")
    return seconds


def _lock_time(text: str) -> int:
    seconds = parse_time(text)
    if not 1 <= seconds <= 3600:
        raise SettingsError(f"{text!r} is out of range: use 1s to 1h")
    return seconds


def _prefix(text: str, bits: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 1 <= int(text) <= bits):
        raise SettingsError(f"{text!r} is out of range: use 1 to {bits}")
    return int(text)


def _ipv4_prefix(text: str) -> int:
    return _prefix(text, 32)


def _ipv6_prefix(text: str) -> int:
    return _prefix(text, 128)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 6):
        raise SettingsError(f"{text!r} is out of range: use 0 to 999999")
    return int(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise SettingsError(f"{text!r} is out of range: use 0 to 999999999999")
    return int(text)


def _one_of(text: str, words: tuple[str, ...]) -> str:
    if text not in words:
        raise SettingsError(f"{text!r} is none of {', '.join(words)}")
    return text


def _pool(text: str) -> str:
    return _one_of(text, ("network", "domain", "off"))


def _clients(text: str) -> str:
    return _one_of(text, ("all", "suspicious"))


def _mode(text: str) -> str:
    return _one_of(text, ("greylist", "learn", "off"))


def _action(text: str) -> str:
    if len(text) == 3 and text.isascii() and text.isdigit() and text.startswith("4"):
        return text
    return _one_of(text.lower(), ("defer_if_permit", "defer"))


def _yes_or_no(text: str) -> bool:
    if text not in {"yes", "no"}:
        raise SettingsError(f"{text!r} is neither yes nor no")
    return text == "yes"


def _path(text: str) -> str:
    if not text.startswith("/") or "\0" in text:
        raise SettingsError(f"{text!r} is not an absolute path")
    return text


def _database(text: str) -> str:
    if "://" in text and not text.startswith("/"):
        from greylist.store.valkey.url import parse  # late: only such a database needs it

        try:
            parse(text)
        except ValueError as error:
            raise SettingsError(str(error)) from None
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{text!r} is not UTF-8, as libdb's names have to be") from None
    return _path(text)


def _optional_path(text: str) -> str:
    return _path(text) if text else ""


def _paths(text: str) -> tuple[str, ...]:
    return tuple(_path(path) for path in text.replace(",", " ").split())


def _listen(text: str) -> tuple[str, ...]:
    addresses = tuple(text.replace(",", " ").split())
    for address in addresses:
        kind, _, rest = address.partition(":")
        if not (
            (kind == "unix" and rest.startswith("/")) or (kind == "inet" and _is_endpoint(rest))
        ):
            raise SettingsError(
                f"{address!r} is no address to listen on: use unix:/PATH, inet:127.0.0.1:10023 "
                "or inet:[::1]:10023"
            )
    return addresses


def _is_endpoint(text: str) -> bool:
    """Return whether a text is an address and a port; an IPv6 address is in brackets."""
    host, _, port = text.rpartition(":")
    if host.startswith("[") != (":" in host) or host.startswith("[") != host.endswith("]"):
        return False
    address = parse_address(host.strip("[]").encode())
    return address is not None and port.isascii() and port.isdigit() and 0 < int(port) < 65536


def _metrics(text: str) -> str:
    if text and not _is_endpoint(text):
        raise SettingsError(f"{text!r} is not of the form 127.0.0.1:9150 or [::1]:9150")
    return text


def _file_mode(text: str) -> int:
    if not text or len(text) > 4 or text.strip("01234567"):
        raise SettingsError(f"{text!r} is not a file's mode: use octal digits, such as 0660")
    return int(text, 8)


def _account(text: str) -> str:
    if text.strip(_NAME + "."):
        raise SettingsError(f"{text!r} is not a name of a user or group")
    return text


def _at_least_one(text: str) -> int:
    number = _count(text)
    if not number:
        raise SettingsError("'0' is out of range: use 1 or more")
    return number


def _log(text: str) -> str:
    if text in {"syslog", "stderr"}:
        return text
    if not text.startswith("/") or not text.isprintable():
        raise SettingsError(f"{text!r} is neither syslog, stderr nor an absolute path")
    return text


def _syslog_name(text: str) -> str:
    if not text or len(text) > 32 or text.strip(_NAME):
        raise SettingsError(f"{text!r} is not a name for syslog: use letters, digits, -, _ and /")
    return text


def _delimiter(text: str) -> str:
    if not text.isascii() or not text.isprintable() or set(text) & set("@ ") or text.isalnum():
        raise SettingsError(f"{text!r} is no set of characters that part an extension, such as +")
    return text


def _domains(text: str) -> tuple[bytes, ...]:
    found = text.lower().replace(",", " ").split()
    for domain in found:
        if set(domain) & set("$:/!@[]"):
            raise SettingsError(f"{domain!r} is no domain: postconf -xh mydestination shows them")
    return tuple(domain.encode("utf-8", "surrogateescape") for domain in found)


def _hostname(text: str) -> str:
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise SettingsError(f"{text!r} is not a host name")
    return text or os.uname().nodename


def _facility(text: str) -> str:
    if text not in FACILITIES:
        raise SettingsError(f"unknown syslog facility {text!r}")
    return text


def _level(text: str) -> int:
    if text not in {"0", "1", "2", "3"}:
        raise SettingsError(f"{text!r} is out of range: use 0 to 3")
    return int(text)


def _reply_text(text: str) -> str:
    if not text or not (text.isascii() and text.isprintable()):
        raise SettingsError(f"{text!r} is not a line of printable ASCII (RFC 5321, section 4.2)")
    if len(text) > _REPLY_MAX:
        raise SettingsError(f"the text has {len(text)} characters: use {_REPLY_MAX} at most")
    if text[0].isdigit() and not _is_deferring(text.split(maxsplit=1)[0]):
        raise SettingsError(f"{text!r} begins with a code other than 4.N.N (RFC 3463)")
    return text


def _header_text(text: str) -> str:
    name, colon, body = text.partition(": ")
    if not (text.isascii() and text.isprintable() and name and colon and body.strip()):
        raise SettingsError(f"{text!r} is not of the form 'Name: text', in ASCII (RFC 5322)")
    if " " in name or ":" in name:
        raise SettingsError(f"{name!r} is not the name of a header (RFC 5322, section 3.6.8)")
    return text


def _is_deferring(code: str) -> bool:
    numbers = code.split(".")
    return len(numbers) == 3 and numbers[0] == "4" and all(n.isdigit() for n in numbers)


class Setting:
    """One setting: its name, its default as written in the file, and what it means."""

    __slots__ = ("default", "help", "name", "parse")

    def __init__(self, name: str, default: str, parse: Callable[[str], object], help: str) -> None:
        self.name = name
        self.default = default
        self.parse = parse
        self.help = help


SETTINGS = (
    Setting("database", "/var/lib/greylist/greylist.db", _database,
            "The database: a file, whose directory must belong to the filter's user; or a URL, "
            "valkey://host/0, of one that several hosts share."),
    Setting("database_password_file", "", _optional_path,
            "A file with the password of a database that has a URL, if the URL has none."),
    Setting("database_ca_file", "", _optional_path,
            "With valkeys://, the certificates of the authorities that are trusted; the system's "
            "own when empty."),
    Setting("database_certificate_file", "", _optional_path,
            "With valkeys://, our own certificate and its key, if the server asks for one."),
    Setting("whitelist", "/etc/postfix/nogreylist", _path,
            "Who is never greylisted: regular expressions, one a line."),
    Setting("delay", "300s", parse_time,
            "How long a new triplet has to wait before it is let through."),
    Setting("mode", "greylist", _mode,
            "greylist; learn: record and log, but let everything through; or off."),
    Setting("retry_window", "2d", _window,
            "How long a new triplet waits for its retry before it starts afresh."),
    Setting("max_age", "35d", _window,
            "How long a triplet that has passed, or a trusted client, is remembered after it was "
            "last seen."),
    Setting("ipv4_prefix", "24", _ipv4_prefix,
            "How many bits of an IPv4 address make a client: 32 for each address."),
    Setting("ipv6_prefix", "64", _ipv6_prefix,
            "How many bits of an IPv6 address make a client: 128 for each address."),
    Setting("pool", "network", _pool,
            "network: a client is its network, and a retry from another host of the same verified "
            "domain counts. domain: a client is its verified domain, and its network where it has "
            "none. off: a client is its network, and no other retry counts."),
    Setting("auto_whitelist", "5", _count,
            "How many triplets of a client have to pass, one an hour counting, before it is "
            "trusted; 0 for never."),
    Setting("auto_whitelist_senders", "1", _count,
            "How many triplets of a sender have to pass from a client, one an hour counting, "
            "before the sender is known there and passes to every recipient; all senders of the "
            "client's own verified domain are one. 0 for never."),
    Setting("never_trust", "", _paths,
            "Files of clients that never become trusted, nor their senders known, in the form of "
            "whitelist. Private addresses never do."),
    Setting("greylist_clients", "all", _clients,
            "Who is greylisted: all, or suspicious: clients without a verified name or with a "
            "customer's, or with a HELO name that is an address, has no dot, or is ours."),
    Setting("learn_replies", "no", _yes_or_no,
            "Let mail to a user pass from an address that the user has written to; needs the "
            "service where our users' mail is asked about."),
    Setting("own_clients", "", _paths,
            "Files of clients that send our users' mail, beside users who have logged in, in the "
            "form of whitelist; for learn_replies."),
    Setting("max_entries", "0", _number,
            "How many entries there may be, about; beyond it new triplets are deferred but not "
            "stored. 0 for any number."),
    Setting("normalize_sender", "yes", _yes_or_no,
            "Leave out of a sender what a machine changes from mail to mail: BATV and SRS tags, "
            "numbers behind bounces and the like, extensions."),
    Setting("whitelist_clients", "", _paths,
            "Files of clients that are never greylisted, in postgrey's form or by greylist spf."),
    Setting("whitelist_recipients", "", _paths,
            "Files of recipients that are never greylisted, in postgrey's form."),
    Setting("greylist_recipients", "", _paths,
            "Files of the only recipients that are greylisted, in postgrey's form; without one, "
            "all are."),
    Setting("recipient_delimiter", "+", _delimiter,
            "The characters that part a recipient's extension, as in main.cf; for "
            "greylist_recipients."),
    Setting("mydestination", "", _domains,
            "The domains that are local, as in main.cf: a user's mailbox is the same in all of "
            "them; for greylist_recipients. Postfix is asked when empty."),
    Setting("durable", "no", _yes_or_no,
            "Sync each update to the disk. Otherwise a power cut may lose the last moments; "
            "a killed filter loses nothing either way."),
    Setting("lock_timeout", "5s", _lock_time,
            "How long a request waits for the database's lock before the filter hangs up. "
            "Keep it below the time-out in main.cf."),
    Setting("listen", "", _listen,
            "Where greylist serve listens: unix:PATH, inet:ADDRESS:PORT or inet:[ADDRESS]:PORT, "
            "one or more."),
    Setting("listen_mode", "0666", _file_mode,
            "The mode of its unix sockets; who may enter their directory decides as well."),
    Setting("listen_owner", "", _account,
            "The owner of its unix sockets; the server's user when empty."),
    Setting("listen_group", "", _account,
            "The group of its unix sockets; the server's when empty."),
    Setting("max_connections", "1000", _at_least_one,
            "How many connections greylist serve takes at once; the next one waits."),
    Setting("workers", "1", _at_least_one,
            "How many processes of greylist serve share the connections."),
    Setting("metrics", "", _metrics,
            "Where greylist serve shows its figures to Prometheus: ADDRESS:PORT, with workers one "
            "port each from there on; nowhere when empty."),
    Setting("log", "syslog", _log,
            "Where to log: syslog, stderr, or the path of a file."),
    Setting("syslog_name", "greylist", _syslog_name,
            "The name in the log lines; with postgrey, tools for its lines read them."),
    Setting("syslog_facility", "mail", _facility,
            "The syslog facility to log to."),
    Setting("verbose", "0", _level,
            "How much to log: 1 decisions with their entries, 2 look-ups and actions, "
            "3 attributes and the whitelist too."),
    Setting("quiet", "no", _yes_or_no,
            "Log trouble only, and no decisions."),
    Setting("reply", "Service is temporarily unavailable", _reply_text,
            "The text that a deferred client sees: %s stands for the seconds left, %r for the "
            "recipient's domain, %c for the client's address."),
    Setting("action", "defer_if_permit", _action,
            "What Postfix does with a deferred client: defer_if_permit, defer, or a code 4NN."),
    Setting("header", "no", _yes_or_no,
            "Add a header to a message that was delayed."),
    Setting("header_text", "X-Greylist: delayed %t seconds by greylist-%v at %h; %d", _header_text,
            "That header: %t stands for the seconds, %v for this program's version, %h for the "
            "hostname, %d for the date."),
    Setting("hostname", "", _hostname,
            "The host's name in that header; the machine's own when empty."),
)  # fmt: skip
"""Every setting, in the order in which the manual shows them."""

_BY_NAME = {setting.name: setting for setting in SETTINGS}


class Settings:
    """The settings in force. Times are in seconds.

    Attributes:
        path: the file that was read, empty when there was none.
        file: where it is, or would be.
    """

    database: str
    database_password_file: str
    database_ca_file: str
    database_certificate_file: str
    whitelist: str
    delay: int
    durable: bool
    lock_timeout: int
    listen: tuple[str, ...]
    listen_mode: int
    listen_owner: str
    listen_group: str
    max_connections: int
    workers: int
    metrics: str
    log: str
    syslog_name: str
    syslog_facility: str
    verbose: int
    quiet: bool
    reply: str
    action: str
    header: bool
    header_text: str
    hostname: str
    mode: str
    retry_window: int
    max_age: int
    ipv4_prefix: int
    ipv6_prefix: int
    pool: str
    auto_whitelist: int
    auto_whitelist_senders: int
    never_trust: tuple[str, ...]
    greylist_clients: str
    learn_replies: bool
    own_clients: tuple[str, ...]
    max_entries: int
    recipient_delimiter: str
    mydestination: tuple[bytes, ...]
    normalize_sender: bool
    whitelist_clients: tuple[str, ...]
    whitelist_recipients: tuple[str, ...]
    greylist_recipients: tuple[str, ...]

    def __init__(self) -> None:
        self.path = ""
        self.file: File | None = None
        self._options: dict[str, str] = {}
        for setting in SETTINGS:
            setattr(self, setting.name, setting.parse(setting.default))

    def set(self, name: str, value: str) -> None:
        """Set a setting from its text, for good: it wins over what the file says.

        Raises:
            SettingsError: there is no such setting, or it cannot have this value.
        """
        self._set(name, value)
        self._options[name] = value

    def _set(self, name: str, value: str) -> None:
        setting = _BY_NAME.get(name)
        if setting is None:
            raise SettingsError(f"unknown setting {name!r}")
        try:
            setattr(self, name, setting.parse(value))
        except SettingsError as error:
            raise SettingsError(f"{name}: {error}") from None

    def check(self) -> None:
        """See that the settings go together.

        Raises:
            SettingsError: with these, nobody would ever be let through, or all mail be delayed.
        """
        if self.delay >= self.retry_window:
            raise SettingsError("delay is not shorter than retry_window")
        if self.max_age < self.retry_window:
            raise SettingsError(
                "max_age is shorter than retry_window: what has passed would be forgotten first"
            )

    def reread(self) -> Settings:
        """Return the settings as the file has them now.

        Raises:
            SettingsError: names the file, the line and what is wrong with it.
            OSError: the file cannot be read.
        """
        settings = Settings()
        settings.file = self.file
        settings.read()
        for name, value in self._options.items():
            settings.set(name, value)
        settings.check()
        return settings

    def read(self, tell: Callable[[int, str, str], None] | None = None) -> None:
        """Set what the file sets.

        Args:
            tell: is told of each line its number, the setting's name, and what is wrong with it or
                nothing; then no line is an error, and one that is wrong is left out.

        Raises:
            SettingsError, OSError: as reread does.
        """
        if self.file is None:
            return
        path = self.file.path
        text = self.file.read().decode("utf-8", "surrogateescape")
        self.path = path
        for number, line in _logical_lines(text.split("\n")):
            key, equals, value = line.partition("=")
            wrong = ""
            try:
                if not equals or not key.strip():
                    raise SettingsError(f"{line.strip()!r:.100} is not of the form 'name = value'")
                self._set(key.strip(), value.strip())
            except SettingsError as error:
                wrong = str(error)
            if tell:
                tell(number, key.strip(), wrong)
            elif wrong:
                raise SettingsError(f"{path}:{number}: {wrong}")


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
    settings.file = File(given or DEFAULT_PATH)
    settings.file.changed()  # before reading: what is written from now on is noticed
    try:
        settings.read()
    except FileNotFoundError:
        if given:
            raise
    return settings


def _logical_lines(lines: Iterable[str]) -> list[tuple[int, str]]:
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
