"""How far the server is, and how many connections are worth having to it.

A connection carries one request at a time, so what a far server answers in a second depends on how
many there are; a near one is busy with few.
"""

from collections.abc import Callable

NEAR = 0.02      # seconds of a round trip up to which …
FEW = 4          # … there are no more connections than these; and at most, to a server …
MANY = 16        # … that is far
WORTH = 0.1      # seconds of round trips that it takes for one connection more


class Distance:
    """The shortest round trip that any connection of a session has seen.  Any thread may tell."""

    def __init__(self) -> None:
        self._connected: float | None = None
        self._answered: float | None = None

    def connected(self, seconds: float) -> None:
        """A TCP connection was made, perhaps to a proxy or to what stands before the server."""
        self._connected = min(seconds, self._connected or seconds)

    def answered(self, seconds: float) -> None:
        """A request was answered, on a connection that was there."""
        self._answered = min(seconds, self._answered or seconds)

    @property
    def known(self) -> bool:
        """True once something has been measured."""
        return self._connected is not None or self._answered is not None

    @property
    def round_trip(self) -> float:
        """Seconds; 0 as long as nothing is known.  That of a request counts, once there is one."""
        return self._answered or self._connected or 0.0


def connections(jobs: int | None, round_trip: float, tasks: int) -> int:
    """Return how many connections there may be: ``jobs``, or for None as many as are worth it.

    ``tasks`` may be under way at once, of requests that take a ``round_trip`` (seconds) each.
    """
    if jobs is not None:
        return jobs
    if round_trip <= NEAR:
        return FEW
    return max(FEW, min(MANY, int(round_trip * tasks / WORTH)))


def by_distance(jobs: int | None, distance: Distance, tasks: int) -> Callable[[], int]:
    """Return what tells ``connections`` by what is known of the distance when it is asked."""
    return lambda: connections(jobs, distance.round_trip, tasks)
