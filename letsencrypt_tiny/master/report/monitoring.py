"""What status says to a monitoring system, as monitoring-plugins do: a line, and an exit status.

The line is ``NAME STATUS - what is wrong | performance data``; what follows is the long output.
"""

import re
from collections.abc import Iterable

from ...common.clock import DAY
from ...common.log import printable
from .standing import (CRITICAL, LEVELS, OK, UNKNOWN, WARNING, Limits, Overview, Standing, judge,
                       span)

NAME = "LETSENCRYPT-TINY"
MOST = 30      # sections of which there are performance data, and lines of the long output
_LONGEST = 300   # characters of a line

_UNITS = {"": DAY, "d": DAY, "h": 3600}
_LIMIT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([dh]?):?\Z", re.ASCII)


def limit(text: str | None) -> float | None:
    """Parse a threshold, DAYS or HOURSh, with or without the colon of a range that has no end;
    returns seconds.  Raises ValueError."""
    if text is None:
        return None
    found = _LIMIT.match(text)
    if found is None:
        raise ValueError(f"“{text}” is not a number of days, such as 14, or of hours, such as 36h")
    return float(found.group(1)) * _UNITS[found.group(2)]


def unknown(why: object) -> str:
    """Return what to print where nothing can be said."""
    return f"{NAME} {LEVELS[UNKNOWN]} - {_plain(str(why))}"


def result(overview: Overview, limits: Limits) -> tuple[int, str]:
    """Return the exit status, and what to print."""
    judged = [(*judge(standing, overview.now, limits), standing)
              for standing in overview.standings]
    if not judged:
        return UNKNOWN, unknown("no certificate is configured")
    worst = max(level for level, _, _ in judged)
    bad = [(level, why, standing) for level, why, standing in judged if level != OK]
    bad.sort(key=lambda one: -one[0])
    line = f"{NAME} {LEVELS[worst]} - {_headline(bad, judged, overview)}"
    data = " ".join(_performance(judged, overview, limits))
    lines = [f"{LEVELS[level]}: {_plain(standing.name)}: {_plain(why)}"
             for level, why, standing in bad[:MOST] if len(bad) > 1]
    if len(bad) > MOST:
        lines.append(f"and {len(bad) - MOST} more")
    if not overview.complete:
        lines.append("what has failed and what waits is not known to this user, only to root")
    return worst, "\n".join([f"{line} | {data}", *lines])


Judged = tuple[int, str, Standing]


def _headline(bad: list[Judged], judged: list[Judged], overview: Overview) -> str:
    if len(bad) == 1:
        _, why, standing = bad[0]
        others = f" (and {len(judged) - 1} OK)" if len(judged) > 1 else ""
        return f"{_plain(standing.name)}: {_plain(why)}{others}"
    if bad:
        counts = [f"{number} {LEVELS[level]}" for level in (CRITICAL, WARNING)
                  if (number := sum(one[0] == level for one in bad))]
        return f"{' and '.join(counts)} of {len(judged)} certificates"
    first = min((one[2] for one in judged), key=lambda one: _left(one, overview.now))
    what = f"{len(judged)} certificates, the first to expire" if len(judged) > 1 else \
        "1 certificate, which expires"
    busy = sum(one[2].trouble is not None for one in judged)
    return (f"{what} in {span(_left(first, overview.now))}"
            + (f": {_plain(first.name)}" if len(judged) > 1 else "")
            + (f"; {busy} failed in the last run" if busy else ""))


def _left(standing: Standing, now: float) -> float:
    return standing.left(now) or 0


def _performance(judged: list[Judged], overview: Overview, limits: Limits) -> Iterable[str]:
    """Yield the counts, and how long each certificate has left (none where there are many)."""
    total = len(judged)
    for label, number in (
            ("sections", total), ("warning", sum(one[0] == WARNING for one in judged)),
            ("critical", sum(one[0] == CRITICAL for one in judged)),
            ("due", sum(one[2].due for one in judged)),
            ("failing", sum(one[2].trouble is not None for one in judged))):
        yield f"{label}={number};;;0;" + ("" if label == "sections" else f"{total}")
    known = [one[2] for one in judged if one[2].certificate is not None]
    if known:
        first = min(known, key=lambda one: _left(one, overview.now))
        yield _lifetime("left", first, overview.now, limits)
    for standing in known if len(known) <= MOST else ():
        yield _lifetime(f"left {standing.name}", standing, overview.now, limits)


def _lifetime(label: str, standing: Standing, now: float, limits: Limits) -> str:
    warning = standing.margin / 3 if limits.warning is None else limits.warning
    critical = standing.margin / 6 if limits.critical is None else limits.critical
    shown = _plain(label).replace("=", "_").replace("'", "''")
    return f"'{shown}'={int(_left(standing, now))}s;{int(warning)}:;{int(critical)}:;;"


def _plain(text: str) -> str:
    """The bar would begin the performance data."""
    return printable(text, _LONGEST).replace("|", "/")
