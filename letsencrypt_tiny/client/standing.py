"""How the server is, as the orders of a run find it.

What keeps every order from going on is found out by one of them: while it tries again, the others
wait, and do not ask the same.  When it has given up, the next one tries once; what fails that one,
too, fails them all, as one failure.  (A server that has taken orders in this run is given more of
a chance: it may be these few that it does not like.)  The first newOrder of a run is alone, until
it is answered or the server takes its time; where the server was out of order before, all else
waits for that answer.

Whatever may be about one order alone, such as the answer to its poll, holds nobody else up.
"""

import threading

from ..common.errors import Error
from .problem import ProblemError
from .scheduler import Steps
from .transport import TransportError

NAP, LONGEST = 0.02, 1.0    # seconds between two looks of who waits: ever longer
FOLLOWING = 5.0             # seconds for which the first newOrder is waited for, if nobody doubts
VAIN = 2         # orders in a row that the server has failed: the third need not ask, …
LATER = 20       # … nor the next after so many, if it has taken orders before

# HTTP status of a server, or somebody before it, that can't answer anybody now (RFC 9110 §15.6)
_DOWN = frozenset({502, 503, 504})


def concerns_all(error: Error, common: bool) -> bool:
    """Say whether an error is about the server; ``common``: of a request that says nothing but
    that something is wanted, such as newOrder."""
    if isinstance(error, ProblemError):
        return _is_nonce(error) or common and error.problem.status in _DOWN
    # a connection that was made and broke may be about what was asked
    return isinstance(error, TransportError) and (common or type(error) is TransportError)


class Standing:
    """What is known of the server; any thread may tell."""

    def __init__(self, doubted: bool = False) -> None:
        """``doubted``: it was out of order when it was asked last, in an earlier run."""
        self._lock = threading.Lock()
        self._first: object = None           # who makes the first newOrder
        self._known = False                  # a newOrder was answered
        self._doubted = doubted
        self._common = doubted               # what ails the server may be seen by newOrder alone
        self._asking: object = None          # who tries again, for all
        self._vain = VAIN - 1 if doubted else 0
        self._most = VAIN
        self._error: Error | None = None     # the last one that concerns all

    @property
    def doubted(self) -> bool:
        """True if somebody has given up, and nobody was answered since: nothing is tried again."""
        return self._vain > 0

    def admit(self, who: object, common: bool = False) -> Steps[None]:
        """Wait as long as another one tries for all; raises what has failed them all."""
        waited = 0.0
        while not self._may_ask(who, common, waited):
            nap = min(max(NAP, waited / 2), LONGEST)
            waited += nap
            yield nap

    def _may_ask(self, who: object, common: bool, waited: float) -> bool:
        with self._lock:
            if self._vain >= self._most and self._error is not None:
                raise self._error
            if self._asking is not None:
                return self._asking is who
            if self._known or not (common or self._doubted):
                return True
            if self._first is None:
                self._first = who
            return self._first is who or waited >= FOLLOWING and not (self._doubted or self._vain)

    def failed(self, who: object, error: Error, common: bool) -> None:
        """A request has failed."""
        if not concerns_all(error, common):
            if isinstance(error, ProblemError) and error.problem.status not in _DOWN:
                self.answered(common)
            return
        with self._lock:
            self._error, self._common = error, common or self._common
            if self._asking is None:
                self._asking = who

    def answered(self, common: bool = False) -> None:
        """The server works; that it answers polls does not mean that it takes orders."""
        if common:
            self._known, self._most = True, LATER
        if (self._asking is not None or self._vain) and (common or not self._common):
            with self._lock:
                self._asking, self._vain, self._error, self._common = None, 0, None, False

    def left(self, who: object) -> None:
        """An order is at its end; if it was the one that tried for all, that was in vain."""
        with self._lock:
            if self._first is who:
                self._first = None
            if self._asking is who:
                self._asking = None
                # that nonces are refused again and again is about nobody's order
                self._vain = self._most if _is_nonce(self._error) else self._vain + 1


def _is_nonce(error: Error | None) -> bool:
    return isinstance(error, ProblemError) and error.problem.type == "badNonce"
