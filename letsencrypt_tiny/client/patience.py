"""How long a request of the master's may wait for the server, and where it does.

The only place that turns Retry-After (RFC 8555 §6.6) and an overloaded server into waits;
each wait is announced before it begins.
"""

import math
import re
import time
from collections.abc import Callable
from typing import TypeVar

from ..common import clock
from ..common.errors import Error
from ..common.log import debug
from ..common.wire.order import MAX_WAIT, Answer, Progress
from .pace import LONGEST, Pace, Watch
from .problem import ProblemError
from .scheduler import Steps
from .standing import Standing
from .transport import CutOff
from .written import Written

# Pauses before a request is tried again, where the server names none: seconds, each longer
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
CUT_OFF_PAUSES = PAUSES[:3]
SHORT = 1.0                 # seconds: a pause that the master need not know of
SLOW = 5.0                  # seconds after which an answer is a sign of life for the master
MAX_RETRY_AFTER = 86400     # seconds

_DELAY_SECONDS = re.compile(r"[0-9]{1,18}\Z")

T = TypeVar("T")


def parse_retry_after(value: str | None, now: Callable[[], float],
                      date: str | None = None) -> int | None:
    """Return the seconds that a Retry-After field asks for, from 0 to MAX_RETRY_AFTER.

    It holds seconds or an HTTP date (RFC 9110 §10.2.3), which is by the clock of the server: the
    Date field says what that shows.  None for anything else.
    """
    if value is None:
        return None
    if _DELAY_SECONDS.match(value):
        return min(int(value), MAX_RETRY_AFTER)
    then = clock.parse_http_date(value)
    if then is None:
        return None
    theirs = clock.parse_http_date(date or "")
    return max(0, min(math.ceil(then - (now() if theirs is None else theirs)), MAX_RETRY_AFTER))


class TimedOut(Error):
    """The waiting time of an order is used up."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after    # seconds


class Patience:
    """The waiting time of one request: ``limit`` seconds in all, 0 for none."""

    def __init__(self, section: str, limit: int, answer: Callable[[Answer], None],
                 pace: Pace | None = None, written: Written = Written(),
                 standing: Standing | None = None) -> None:
        """``pace`` is what it shares with the others of a run, as ``written`` and ``standing``."""
        self.section = section
        self.state = "new"
        self.url: str | None = None         # the order's
        self.finalize: str | None = None    # where it is finalized
        self.asked = False                  # for an order, and nobody knows whether there is one
        self._limit = limit
        self._left = float(limit) if limit else float("inf")
        self._answer = answer
        self._pace = pace or Pace()
        self._written = written
        self._standing = standing or Standing()
        self._watch: Watch | None = None

    def enter(self, state: str) -> None:
        """Announce a new state; the polls begin anew."""
        if state != self.state:
            self.leave(seen=True)
            self.state = state
            self.announce()

    def leave(self, seen: bool = False) -> None:
        """The state is not waited for any more; ``seen``: it has ended."""
        if self._watch is not None:
            self._watch.end(seen)
            self._watch = None

    def announce(self, wait: int = 0) -> None:
        """Tell the master how far the order is, and how long it waits now (seconds)."""
        self._answer(Progress(self.section, self.state, self.url, wait, self.finalize))

    def until_written(self) -> Steps[None]:
        """Wait until the master has written the order down; raises Unwritten."""
        yield from self._written.wait(self.section, self.url or "")

    def until_poll(self, retry_after: int | None) -> Steps[None]:
        """Wait until the next poll; raises TimedOut.

        That is when the server asked for it, or earlier, or after a time that grows (``Pace``).
        The last one is cut to what is left, unless the server asked for more.
        """
        due = False
        while not due:
            if self._watch is None:
                self._watch = Watch(self._pace, self.state)
            seconds, due = self._watch.next(retry_after)
            if self._watch.heeds:
                yield self._wait(seconds, retry_after)
            else:
                yield self._wait(min(seconds, self._left) or seconds, None)

    def _wait(self, seconds: float, asked: int | None) -> float:
        if seconds > self._left:
            raise TimedOut(f"the order is still {self.state}, and {self._why(asked)}; "
                           "the next run takes it up again", int(seconds))
        return self._spend(seconds)

    def _why(self, asked: int | None) -> str:
        """Say whose wish it is that nothing is waited for any more."""
        if asked is None or asked <= LONGEST:    # we would have waited no less
            return f"the {self._limit} seconds of the setting “timeout” are over"
        return (f"the CA asks to come back in {asked} s, which is more than what is left of the "
                f"{self._limit} s of the setting “timeout”")

    def _spend(self, seconds: float) -> float:
        self._left -= seconds
        if seconds >= SHORT:
            self.announce(min(MAX_WAIT, int(seconds + 0.999)))
        return seconds

    def busy(self, request: Callable[[], T], polling: bool = False, common: bool = False
             ) -> Steps[T]:
        """Make a request; wait and repeat it while it can't be answered just now (§6.6).

        It is one that may be made twice.  ``polling``: whatever the server says of its load, it was
        asked too early, no more; ``common``: see ``timed``.
        """
        tries = 0
        while True:
            yield from self.admit(common)
            try:
                return self.timed(request, common)
            except (ProblemError, CutOff) as exc:
                seconds = self.pause(exc, tries, polling, repeats=True)
            tries += 1
            yield seconds

    def admit(self, common: bool = False) -> Steps[None]:
        """Wait as long as another order finds out whether the server works; raises Error if it
        doesn't.  ``common`` as for ``timed``."""
        yield from self._standing.admit(self, common)

    def found(self) -> None:
        """There is an order, though newOrder was not answered: the server takes orders."""
        self.asked = False
        self._standing.answered(True)

    def end(self) -> None:
        """Nothing is asked for any more."""
        self.leave()
        self._standing.left(self)

    def timed(self, request: Callable[[], T], common: bool = False) -> T:
        """Make a request; if that takes its time, let the master know that there is life.

        ``common``: one that any order makes in the same way.
        """
        began = time.monotonic()
        try:
            answer = request()
        except Error as exc:
            self._standing.failed(self, exc, common)
            raise
        else:
            self._standing.answered(common)
            return answer
        finally:
            if time.monotonic() - began > SLOW:
                self.announce()

    def pause(self, error: Error, tries: int, polling: bool = False, repeats: bool = False
              ) -> float:
        """Return the seconds after which a request that failed is made again.

        Where the server says when to come back, that is heeded within what is left; else the
        pauses grow; a server that has erred (5xx) is asked a few times more for what may be
        asked for twice (``repeats``).  Raises the error if it won't pass, or not in time.
        """
        asked: int | None = None
        pauses: tuple[float, ...] = CUT_OFF_PAUSES
        if self._standing.is_hopeless(error):    # who came before has tried
            raise error
        if isinstance(error, ProblemError):
            asked, pauses = error.retry_after, PAUSES
            if error.busy:
                self._pace.calm()
            if not (error.passing or polling and error.busy):
                if not repeats or error.problem.status < 500:
                    raise error
                pauses = CUT_OFF_PAUSES
            if asked is not None and asked > self._left:
                raise error.with_words(f"; {self._why(asked)}")
        seconds = float(asked or pauses[min(tries, len(pauses) - 1)])
        if seconds > self._left or (not asked and tries >= len(pauses)):
            raise error
        debug(f"{error}; trying again in {seconds:g} s")
        return self._spend(seconds)
