"""Moments: Unix time, seconds; as the administrator reads them."""

import time

DAY = 86400   # seconds


def when(moment: float) -> str:
    """Return a Unix time as ``2026-11-23 08:00 UTC``."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(moment))
