"""The times of a log, whose classic form has no year.

Such a log is taken to have ended when its file was last written to. Its year is found when it
has been read to its end: the latest one in which its last line is not later than that, and in
which a 29 February that it has exists.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from greylist.commands.logs.layout import Stamp

_MONTHS = {
    name.encode(): number
    for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)
}
_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SLACK = 86400
"""Seconds by which a log's times may be later than its file's."""

Yearless = tuple[int, int, int, int, int, int]
"""Turns of the year since the log began, month, day, hour, minute, second."""

Moment = int | Yearless
"""Seconds since the epoch; or a time whose year is known when the log has been read."""


class Clock:
    """Reads the times of one log's lines, the oldest first."""

    def __init__(self, end: float) -> None:
        """Args: end: when the log was last written to, in seconds since the epoch."""
        self._end = end
        self._text: tuple[bytes | Any, ...] = ()
        self._moment: Moment = 0
        self._turns = 0
        self._month = 0
        self._last: Yearless | None = None
        self._leap_days: set[int] = set()
        self._first_year = 0

    def read(self, stamp: Stamp) -> Moment:
        """Return a line's time.

        Raises:
            ValueError: there is no such date or time of day.
        """
        text = stamp.group("iso", "zone", "classic", "unix")
        if text != self._text:  # most lines have the time of the line before
            self._moment = self._parsed(*text)
            self._text = text
        return self._moment

    def _parsed(self, iso: bytes, zone: bytes, classic: bytes, unix: bytes) -> Moment:
        if iso:
            return _iso(iso, zone or b"")
        return int(unix) if unix else self._classic(classic)

    def _classic(self, text: bytes) -> Moment:
        *date, clock = text.split()
        year = next((int(field) for field in date if len(field) == 4), 0)
        name, day = (field for field in date if len(field) != 4)
        month = _MONTHS[name]
        hour, minute, second = map(int, clock.split(b":"))
        moment = (0, month, int(day), hour, minute, min(second, 59))
        if not 1 <= moment[2] <= _DAYS[month] or hour > 23 or minute > 59 or second > 60:
            raise ValueError("no such date or time of day")
        if year:
            return _seconds(year, moment)
        return self._turned(moment)

    def _turned(self, moment: Yearless) -> Yearless:
        """Return a time with the turns of the year before it.

        Logs that were put together in another order go back by some months, and a line of
        December may come late: neither is a turn.
        """
        month, turns = moment[1], self._turns
        if self._month - month > 5:
            turns += 1
        elif self._month and month - self._month > 10:
            return (turns - 1, *moment[1:])
        self._turns, self._month = turns, month
        found = (turns, *moment[1:])
        self._last = max(self._last or found, found)
        if moment[1:3] == (2, 29):
            self._leap_days.add(turns)
        self._first_year = 0
        return found

    def seconds(self, moment: Moment) -> int:
        """Return a time in seconds since the epoch, now that the log has been read."""
        if isinstance(moment, int):
            return moment
        self._first_year = self._first_year or self._began()
        return _seconds(self._first_year + moment[0], moment)

    def _began(self) -> int:
        """Return the year in which the log begins."""
        assert self._last
        year = time.localtime(self._end).tm_year - self._last[0]
        if _seconds(year + self._last[0], self._last) > self._end + _SLACK:
            year -= 1
        for earlier in range(8):  # 1896 to 1904 were eight years without a leap day
            if all(_is_leap(year - earlier + turns) for turns in self._leap_days):
                return year - earlier
        return year


def _iso(text: bytes, name: bytes) -> int:
    date = text.decode("ascii").replace("/", "-")
    zone = name.decode("ascii").strip()
    if zone in {"UTC", "GMT", "z"}:
        zone = "Z"
    if date.endswith(":60"):  # a leap second
        date = date[:-2] + "59"
    try:
        return int(datetime.fromisoformat(date + zone).timestamp())
    except OverflowError as error:
        raise ValueError("no such date") from error


def _seconds(year: int, moment: Yearless) -> int:
    try:
        return int(time.mktime((year, *moment[1:], 0, 0, -1)))
    except OverflowError as error:
        raise ValueError("no such date") from error


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
