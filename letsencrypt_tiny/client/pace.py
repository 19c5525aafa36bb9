"""When an order is looked at again, where the server names no time (RFC 8555 §7.5.1).

Early, then ever later: most servers have validated, or issued, after some milliseconds, some take
seconds.  Of many orders a few, the scouts, find out how long that is, and the others look once it
is over: so there is hardly more than one look at each, however long it takes.
"""

import threading

EARLY = ("pending", "processing")   # states that end as soon as the server is done
FIRST, LATER = 0.05, 0.5            # seconds before the first look, in these and in the others
LONGEST = 10.0                      # seconds between two looks
SCOUTS = 2                          # orders, in each state
NAP = 0.5                           # seconds until the others ask again what scouts know
FOLLOWING = 10.0                    # seconds after which nobody waits for scouts any more


class Pace:
    """What the orders of a run know of their server; any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parties = {state: _Party() for state in EARLY}

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
