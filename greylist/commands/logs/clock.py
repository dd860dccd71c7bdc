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
_SHORT = len("Nov  2 10:00:00")
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
        self._last: Yearless = (0, 0, 0, 0, 0, 0)
        self._hours: dict[tuple[int, ...], int] = {}
        self._iso_hours: dict[tuple[bytes, bytes], int] = {}
        self._leap_days: set[int] = set()

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
            return self._iso(iso, zone or b"")
        return int(unix) if unix else self._classic(classic)

    def _iso(self, text: bytes, zone: bytes) -> int:
        minute, second = int(text[14:16]), int(text[17:19])
        if minute > 59 or second > 60:
            raise ValueError("no such time of day")
        hour = text[:13], zone
        if hour not in self._iso_hours:
            self._iso_hours[hour] = _hour(*hour)
        return self._iso_hours[hour] + minute * 60 + min(second, 59)

    def _classic(self, text: bytes) -> Moment:
        year, text = _without_year(text) if len(text) > _SHORT else (0, text)
        clock = text[-8:]
        month, day = _MONTHS.get(text[:3], 0), int(text[3:-8])
        hour, minute, second = int(clock[:2]), int(clock[3:5]), int(clock[6:])
        if not 1 <= day <= _DAYS[month] or hour > 23 or minute > 59 or second > 60:
            raise ValueError("no such date or time of day")
        moment = (0, month, day, hour, minute, min(second, 59))
        return _seconds(year, moment) if year else self._turned(moment)

    def _turned(self, moment: Yearless) -> Yearless:
        """Return a time with the turns of the year before it.

        Logs that were put together in another order go back by some months, and a line of
        December may come late: neither is a turn.
        """
        month, before = moment[1], self._month
        if month != before:
            if before - month > 5:
                self._turns += 1
            elif before and month - before > 10:
                return (self._turns - 1, *moment[1:])
            self._month = month
        found = (self._turns, *moment[1:])
        if found > self._last:
            self._last = found
            self._hours.clear()
        if month == 2 and moment[2] == 29:
            self._leap_days.add(self._turns)
        return found

    def seconds(self, moment: Moment) -> int:
        """Return a time in seconds since the epoch, now that the log has been read."""
        if isinstance(moment, int):
            return moment
        hour = moment[:4]
        if hour not in self._hours:  # mktime(3) is slow
            first_year = self._began()
            self._hours[hour] = _seconds(first_year + moment[0], (*hour, 0, 0))
        return self._hours[hour] + moment[4] * 60 + moment[5]

    def _began(self) -> int:
        """Return the year in which the log begins."""
        year = time.localtime(self._end).tm_year - self._last[0]
        if _seconds(year + self._last[0], self._last) > self._end + _SLACK:
            year -= 1
        for earlier in range(8):  # 1896 to 1904 were eight years without a leap day
            if all(_is_leap(year - earlier + turns) for turns in self._leap_days):
                return year - earlier
        return year


def _without_year(text: bytes) -> tuple[int, bytes]:
    """Return the year that a time in the classic form has, and the rest of the time."""
    fields = text.split()
    year = next(field for field in fields if len(field) == 4)
    fields.remove(year)
    return int(year), b" ".join(fields)


def _hour(date: bytes, zone: bytes) -> int:
    """Return when an hour begins, in seconds since the epoch.

    Args:
        date: ``2026-11-02T10``.
        zone: ``Z``, ``+01:00``, ``UTC``; empty for local time.
    """
    name = zone.decode("ascii").strip()
    name = "Z" if name in {"UTC", "GMT", "z"} else name
    try:
        hour = date.decode("ascii").replace("/", "-") + ":00:00"
        return int(datetime.fromisoformat(hour + name).timestamp())
    except OverflowError as error:
        raise ValueError("no such date") from error


def _seconds(year: int, moment: Yearless) -> int:
    try:
        return int(time.mktime((year, *moment[1:], 0, 0, -1)))
    except OverflowError as error:
        raise ValueError("no such date") from error


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
