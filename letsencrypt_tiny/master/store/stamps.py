"""Names of versions: UTC moments, in order of age."""

import errno
import re
import time

_STAMP = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_FORMAT = "%Y-%m-%dT%H%M%SZ"
_LATEST = 253_370_764_799   # seconds: the end of the year 9998


def is_one(name: str) -> bool:
    """Say whether ``name`` is that of a version."""
    return _STAMP.fullmatch(name) is not None


def of(now: float) -> str:
    """Return the name for the moment ``now``, in seconds since 1970."""
    return time.strftime(_FORMAT, time.gmtime(min(max(now, 0), _LATEST)))


def after(version: str) -> str:
    """Return the name of a second later, whatever the clock says by now.

    Raises OSError if somebody made a version of no moment.
    """
    from datetime import datetime, timedelta
    found = _STAMP.fullmatch(version)
    try:
        if found is None:
            raise ValueError
        year, month, day, hour, minute, second = map(int, found.groups())
        moment = datetime(year, month, day, hour, minute, second) + timedelta(seconds=1)
    except (ValueError, OverflowError) as exc:
        raise OSError(errno.EINVAL, f"{version} is no moment: remove it") from exc
    return f"{moment.year:04}" + moment.strftime(_FORMAT[2:])   # of years before 1000, too
