"""How long a request of the master's may wait for the server, and where it does.

The only place that turns Retry-After (RFC 8555 §6.6) and an overloaded server into waits;
each wait is announced before it begins.
"""

import math
import re
from collections.abc import Callable
from typing import TypeVar

from ..common import clock
from ..common.errors import Error
from ..common.wire.order import MAX_WAIT, Answer, Progress
from .problem import UNAVAILABLE, ProblemError
from .scheduler import Steps

# Seconds between polls where the server names none
FIRST_POLL = 0.5
POLL_GROWTH = 2.0
LONGEST_POLL = 10.0
BUSY_RETRIES = 5
MAX_RETRY_AFTER = 86400     # seconds

_DELAY_SECONDS = re.compile(r"[0-9]{1,18}\Z")

T = TypeVar("T")


def parse_retry_after(value: str | None, now: Callable[[], float]) -> int | None:
    """Return the seconds that a Retry-After field asks for, from 0 to MAX_RETRY_AFTER.

    It holds seconds or an HTTP date (RFC 9110 §10.2.3); None for anything else.
    """
    if value is None:
        return None
    if _DELAY_SECONDS.match(value):
        return min(int(value), MAX_RETRY_AFTER)
    then = clock.parse_http_date(value)
    return None if then is None else max(0, min(math.ceil(then - now()), MAX_RETRY_AFTER))


class TimedOut(Error):
    """The waiting time of an order is used up."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after    # seconds


class Patience:
    """The waiting time of one request: ``limit`` seconds in all, 0 for none."""

    def __init__(self, section: str, limit: int, answer: Callable[[Answer], None]) -> None:
        self.section = section
        self.state = "new"
        self.url: str | None = None       # the order's
        self._limit = limit
        self._left = float(limit) if limit else float("inf")
        self._answer = answer
        self._poll = FIRST_POLL

    def enter(self, state: str) -> None:
        """Announce a new state; the polls begin anew."""
        if state != self.state:
            self.state = state
            self._poll = FIRST_POLL
            self._answer(Progress(self.section, state, self.url))

    def poll(self, retry_after: int | None) -> float:
        """Return the seconds to wait before the next poll; raises TimedOut.

        That is what the server asked for, or a time that grows.  The last one is cut to
        what is left, unless the server asked for more.
        """
        seconds = float(retry_after or 0)
        if retry_after is None:
            seconds = min(self._poll, self._left) or self._poll
            self._poll = min(self._poll * POLL_GROWTH, LONGEST_POLL)
        return self._spend(max(seconds, 0.1))

    def _spend(self, seconds: float) -> float:
        if seconds > self._left:
            raise TimedOut(f"the order is still {self.state}, and the {self._limit} seconds of "
                           "the setting “timeout” are over; the next run takes it up again",
                           int(seconds))
        self._left -= seconds
        self._answer(Progress(self.section, self.state, self.url,
                              min(MAX_WAIT, int(seconds + 0.999))))
        return seconds

    def busy(self, request: Callable[[], T]) -> Steps[T]:
        """Make a request; wait and repeat it while the server is overloaded (503, §6.6).

        A rate limit (429) is not waited for: the run after the next is early enough.
        """
        for _ in range(BUSY_RETRIES):
            try:
                return request()
            except ProblemError as exc:
                seconds = exc.retry_after
                if exc.problem.status != UNAVAILABLE or seconds is None or seconds > self._left:
                    raise
                yield self._spend(max(seconds, 0.1))
        return request()
