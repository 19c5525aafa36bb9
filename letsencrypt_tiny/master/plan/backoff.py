"""When what failed is tried again: later from time to time, and never too late.

Pure, so that years can be tried in milliseconds.  A wait is computed from what failed and when,
nothing of it is drawn by chance at run time: so that each look at it says the same.
"""

from collections.abc import Sequence

from ...common.clock import DAY
from ..settings.certificates import Section
from ..store.journal import SectionState

# Seconds after the first failure, the second …; the last one repeats
SECTION = (60, 600, 6000, DAY)
# A CA that is down is asked by the first run of each period of the timer (six hours)
AUTHORITY = (60, 600, 6000, 19800)
JITTER = 8          # a part of that many is added or taken away, half of it each
SHARE = 3           # a wait is at most that part of what a certificate has left


def pause(steps: Sequence[int], failures: int, seed: str) -> int:
    """Return the seconds to wait after so many ``failures`` in a row.

    ``seed`` tells hosts and sections from each other: what failed at once for all of them is not
    tried again at once.
    """
    import zlib
    seconds = steps[min(failures, len(steps)) - 1] if failures > 0 else 0
    part = zlib.crc32(seed.encode("utf-8", "replace")) % 1000 / 1000 - 0.5
    return int(seconds * (1 + part / JITTER))


def wish(section: Section) -> str:
    """Return in short what a section asks for, of whom and how it proves its names: who has changed
    that need not wait for what failed before."""
    import zlib
    return f"{zlib.crc32(repr(section._replace(notify='', min_days=None, mode=0)).encode()):08x}"


def failures(section: Section, state: SectionState) -> int:
    """Return how often in a row orders have failed for what a section asks for now."""
    return state.failures if state.wish == wish(section) else 0


def moment(failed: int, seconds: int, now: float, not_after: int | None = None) -> int:
    """Return when to try again (Unix time) what ``failed`` at a moment; 0: now.

    ``not_after`` is when the certificate that is installed ends, if there is one that has not
    ended: no wait takes more than a share of what it had left then.  A failure of the future was
    seen by a clock gone wrong.
    """
    if failed > now:
        return 0
    if not_after is not None:
        seconds = min(seconds, max(0, (not_after - failed) // SHARE))
    again = failed + seconds
    return again if again > now else 0
