"""Moments are Unix time, seconds since 1970-01-01 UTC; dates to and from it, without slow imports.

(``calendar``, ``datetime`` and ``email.utils`` are, and can't be once a process is confined.)
"""

import re
import time

DAY = 86400   # seconds
_LAST = 253_402_300_799   # the end of the year 9999

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# IMF-fixdate (RFC 9110 §5.6.7)
_HTTP_DATE = (r"[A-Za-z]{3}, ([0-9]{2}) ([A-Za-z]{3}) ([0-9]{4}) "
              r"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT\Z")
# date-time (RFC 3339 §5.6)
_TIMESTAMP = (r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
              r"(?:\.[0-9]+)?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))\Z")


def when(moment: float) -> str:
    """Return a Unix time as the administrator reads it: ``2026-11-23 08:00 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))


def timestamp(moment: float) -> str:
    """Return a Unix time as programs read it (RFC 3339 §5.6): ``2026-11-23T08:00:00Z``.

    What has no such form, as its year has more than four digits, is the last that has one.
    """
    year, *rest = time.gmtime(min(moment, _LAST))[:6]
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(year, *rest)


def days(year: int, month: int, day: int) -> int:
    """Return the days from 1970-01-01 to a date of the Gregorian calendar, before it negative."""
    if month < 3:    # a year that begins in March has its leap day at the end
        year, month = year - 1, month + 12
    leap_days = year // 4 - year // 100 + year // 400
    return 365 * year + leap_days + (153 * month - 457) // 5 + day - 719469


def parse_http_date(text: str) -> int | None:
    """Return the Unix time of an IMF-fixdate from 1970 on (RFC 9110 §5.6.7), None if it is none.

    The name of the weekday, and whether a month has that many days, are not looked at.
    """
    match = re.match(_HTTP_DATE, text)
    if match is None or match.group(2).lower() not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match.group(i)) for i in (1, 3, 4, 5, 6))
    month = _MONTHS.index(match.group(2).lower()) + 1
    if not (1970 <= year and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    return days(year, month, day) * DAY + hour * 3600 + minute * 60 + second


def parse_timestamp(text: str) -> int | None:
    """Return the Unix time of a date-time (RFC 3339 §5.6), None if it is none.

    Fractions of a second are left out; whether a month has that many days is not looked at.
    """
    match = re.match(_TIMESTAMP, text)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    sign, ahead, more = match.groups()[6:]
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        return None
    offset = (int(ahead) * 3600 + int(more) * 60) * (-1 if sign == "-" else 1) if sign else 0
    return days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset
