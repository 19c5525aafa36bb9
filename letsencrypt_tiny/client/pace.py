"""When an order is looked at again, where the server names no time (RFC 8555 §7.5.1).

Early, then ever later: most servers have validated, or issued, after some milliseconds, some take
seconds.  Of many orders a few, the scouts, find out how long that is, and the others look once it
is over: so there is hardly more than one look at each, however long it takes.

Where the server does name a time it is kept to, but for one look ahead of it in each of these
states, in a run of few orders: the time is meant for the slowest.
"""

import threading

from .distance import Distance

EARLY = ("pending", "processing")   # states that end as soon as the server is done
FIRST, LATER = 0.05, 0.5            # seconds before the first look, in these and in the others
LONGEST = 10.0                      # seconds between two looks
SCOUTS = 2                          # orders, in each state
NAP = 0.5                           # seconds until the others ask again what scouts know
FOLLOWING = 10.0                    # seconds after which nobody waits for scouts any more
FEW = 4                             # orders of a run that are looked at ahead of time …
SOON = 10                           # … and seconds up to which there is a point in that


class Pace:
    """What the orders of a run know of their server; any thread may ask."""

    def __init__(self, orders: int | None = None, distance: Distance | None = None) -> None:
        """``orders`` is how many there are, as far as that is known."""
        self._lock = threading.Lock()
        self._parties = {state: _Party() for state in EARLY}
        self._distance = distance or Distance()
        self._ahead = orders is not None and orders <= FEW

    def ahead(self, state: str, retry_after: int) -> float | None:
        """Return after how many seconds an order that has just come to a state is looked at once
        though the server has asked for more; None if it isn't.

        The look comes to the server a round trip later than that, counted from when the state
        began there.  To validate takes it two: it connects to us, and asks.
        """
        round_trip = self._distance.round_trip
        seconds = FIRST + (round_trip if state == "pending" else -round_trip)
        return max(0.0, seconds) if (self._ahead and state in EARLY
                                     and seconds < retry_after <= SOON) else None

    def calm(self) -> None:
        """The server has more to do than it can, or than it wants: nothing is looked at ahead of
        its time any more."""
        self._ahead = False

    def enlist(self, state: str) -> bool:
        """Say whether an order that begins to wait is a scout; if so, it must be ``dismissed``."""
        with self._lock:
            party = self._parties.get(state)
            if party is None or party.enlisted == SCOUTS:
                return False
            party.enlisted += 1
            party.out += 1
            return True

    def dismiss(self, state: str, taken: float | None) -> None:
        """A scout has seen the end of a state after so many seconds, or (None) given up."""
        with self._lock:
            party = self._parties[state]
            party.seen = max(party.seen, taken or 0.0)
            party.out -= 1
            if not party.out:    # the slowest has told
                party.known, party.seen, party.enlisted = party.seen, 0.0, 0

    def expected(self, state: str) -> float | None:
        """Return how long a state lasts; None if nobody knows yet, but somebody is to find out."""
        with self._lock:
            party = self._parties.get(state)
            return 0.0 if party is None else party.known


class _Party:
    """The scouts of a state: when all have come back there may be others."""

    def __init__(self) -> None:
        self.enlisted = 0                   # so far
        self.out = 0                        # of these
        self.seen = 0.0                     # seconds that a state took, by those who have come back
        self.known: float | None = None     # the same, by the last party


class Watch:
    """One order waits for the end of one state."""

    def __init__(self, pace: Pace, state: str) -> None:
        self._pace = pace
        self._state = state
        self._scout = pace.enlist(state)
        self._waited = 0.0
        self._napping = False

    def next(self) -> tuple[float, bool]:
        """Return the seconds to wait, and whether the order is to be looked at then: else it is
        asked again."""
        first = FIRST if self._state in EARLY else LATER
        seconds = min(self._waited + first, LONGEST)
        expected = 0.0 if self._scout else self._pace.expected(self._state)
        if expected is None and self._waited >= FOLLOWING:
            expected = 0.0
        napped, self._napping = self._napping, expected is None
        if self._napping:
            seconds = min(seconds, NAP)
        elif napped or expected is not None and expected > self._waited:
            seconds = max(0.0, min((expected or 0.0) - self._waited, LONGEST))
        self._waited += seconds
        return seconds, not self._napping

    def end(self, seen: bool) -> None:
        """It is over; ``seen``: so the server said."""
        if self._scout:
            self._scout = False
            self._pace.dismiss(self._state, self._waited if seen else None)
