"""Which of several CAs is asked for a section, and for how long one is passed over."""

from collections.abc import Mapping, Sequence

from ...common.clock import DAY
from ..store.pauses import LONGEST, Pause
from .issuers import Issuer

HOUR = 3600    # seconds

# CAs by their directories' URLs, and the pause that each has for a section
Held = Mapping[str, Pause | None]


def candidates(issuers: Sequence[Issuer], held: Held, now: float) -> list[Issuer]:
    """Return those that may be asked, in order: first the ones that are not passed over.

    One that is out of order, or refused these names, is tried again where no other is left; one
    that asked for a pause is not, unless all have.
    """
    def rank(issuer: Issuer) -> int:
        pause = held.get(issuer.directory)
        if pause is None or not pause.holds(now):
            return 0
        return 2 if pause.kind == "limited" else 1
    found = sorted(issuers, key=rank)    # is stable
    return [issuer for issuer in found if rank(issuer) < 2] or list(issuers)


def pause(kind: str, asked: int | None, last: Pause | None, now: float) -> Pause:
    """Return for how long a CA is passed over that failed for the reason ``kind``.

    ``asked``: the seconds of its Retry-After; ``last``: the pause before.  What is down is tried
    again after an hour, later from pause to pause up to a day.  Whoever refuses a name by its
    policy does so next week, too.
    """
    if kind == "refused":
        seconds = LONGEST
    elif kind == "limited":
        seconds = asked or HOUR
    else:
        again = last is not None and last.kind == kind and now - last.until < DAY
        seconds = max(asked or 0, min(2 * last.seconds, DAY) if again and last else HOUR)
    seconds = min(seconds, LONGEST)
    return Pause(kind, int(now) + seconds, seconds)


def wait(issuers: Sequence[Issuer], held: Held, now: float) -> int:
    """Return the moment (Unix time) before which none of the CAs wants to be asked again; 0 if
    one didn't say so."""
    pauses = [held.get(issuer.directory) for issuer in issuers]
    if all(pause is not None and pause.kind == "limited" and pause.holds(now)
           for pause in pauses):
        return min(pause.until for pause in pauses if pause is not None)
    return 0
