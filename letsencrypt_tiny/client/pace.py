"""When an order is looked at again (RFC 8555 §7.4, §7.5.1).

Early, then ever later: most servers have validated, or issued, after some milliseconds, some take
seconds.  Of many orders a few, the scouts, find out how long that is, and the others look once it
is over: so there is hardly more than one look at each, however long it takes.

Where the server names a time, Retry-After, that is when an order is looked at.  The time is meant
for the slowest, so scouts look ahead of it, two or three times, and the others once, if by what
scouts have seen it is over by then: that costs no request more.  When a few of them have looked in
vain nobody does so any more.
"""

import threading

from .distance import Distance

EARLY = ("pending", "processing")   # states that end as soon as the server is done
FIRST, LATER = 0.05, 0.5            # seconds before the first look, in these and in the others
LONGEST = 10.0                      # seconds between two looks
LEAST = 0.1                         # … where the server would have us look at once
GROWTH, STEEP = 2, 5                # how much later each look is; ahead of the server's time
SOON = 10                           # seconds up to which there is a point in looking ahead
SCOUTS = 2                          # orders, in each state
NAP = 0.5                           # seconds until the others ask again what scouts know
FOLLOWING = 10.0                    # seconds after which nobody waits for scouts any more
VAIN = 4                            # looks of theirs in vain, ahead of the server's time


class Pace:
    """What the orders of a run know of their server; any thread may ask."""

    def __init__(self, distance: Distance | None = None) -> None:
        self._lock = threading.Lock()
        self._parties = {state: _Party() for state in EARLY}
        self._distance = distance or Distance()
        self._vain = 0

    def under_way(self, state: str) -> float:
        """Return for how many seconds a state will have lasted where it is looked at as soon as it
        is heard of: a round trip.  Validation takes the server longer: it connects to us, and asks.
        """
        return min(self._distance.round_trip, FIRST) if state == "processing" else 0.0

    @property
    def ahead(self) -> bool:
        """True if orders may be looked at before the time that the server names."""
        return self._vain < VAIN

    def in_vain(self) -> None:
        """An order was looked at ahead of time, as scouts made it expect, and was not ready."""
        self._vain += 1

    def calm(self) -> None:
        """The server has more to do than it can, or than it wants: nothing is looked at ahead of
        its time any more."""
        self._vain = VAIN

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
        self._waited = pace.under_way(state)
        self._looked = False
        self._due: float | None = None      # when the server wants it to be looked at, as _waited
        self._ahead = state in EARLY        # it may be looked at before
        self._follows = False               # … and was, as scouts made it expect
        self.heeds = False                  # the wait is as long as the server wants it

    def next(self, asked: int | None = None) -> tuple[float, bool]:
        """Return the seconds to wait, and whether the order is to be looked at then: else it is
        asked again.  ``asked``: the server has named so many."""
        if self._follows:    # and is here again
            self._follows = False
            self._pace.in_vain()
        seconds, look = self._step(GROWTH if asked is None else STEEP)
        self.heeds = False
        if asked is not None:
            if self._due is None or asked > SOON:
                self._due = self._waited + asked
            left = self._due - self._waited
            if self._ahead and self._pace.ahead and asked <= SOON and seconds < left:
                self._follows = look and not self._scout
                self._ahead = not self._follows
            else:
                seconds, look = max(left, LEAST), True
                self._due, self.heeds = None, True
        self._looked |= look
        self._waited += seconds
        return seconds, look

    def _step(self, growth: int) -> tuple[float, bool]:
        """Return the same, whatever the server has named; each look is later by ``growth``."""
        first = FIRST if self._state in EARLY else LATER
        seconds = (growth - 1) * self._waited + first
        expected = 0.0 if self._scout else self._pace.expected(self._state)
        if expected is None and self._waited < FOLLOWING:
            return min(seconds, NAP), False
        if not self._looked:
            seconds = max(0.0, max(first, expected or 0.0) - self._waited)
        return min(seconds, LONGEST), True

    def end(self, seen: bool) -> None:
        """It is over; ``seen``: so the server said."""
        if self._scout:
            self._scout = False
            self._pace.dismiss(self._state, self._waited if seen else None)
