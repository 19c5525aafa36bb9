"""How the server is, as the orders of a run find it.

What keeps every order from going on is found out by one of them: until it is answered, and while
it tries again, the others wait, and do not ask the same.  When it has given up, the next one tries
once; what fails that one, too, fails them all, as one failure.  (A server that has taken orders in
this run is given more of a chance: it may be these few that it does not like.)

A server that takes no orders may have those that it took go on: what newOrder alone was answered
holds up nobody's polls, nor does their answer end it.  Whatever may be about one order alone, such
as the answer to its poll, holds nobody else up.
"""

import threading

from ..common.errors import Error
from .problem import ProblemError
from .scheduler import Steps
from .transport import TransportError

NAP, LONGEST = 0.01, 0.5    # seconds between two looks of who waits: ever longer
SLOW = 4.0       # seconds after which nobody waits for the first answer of a run any more
VAIN = 2         # orders in a row that the server has failed: the third need not ask, …
LATER = 20       # … nor the next after so many, if it has taken orders before

# HTTP status of a server, or somebody before it, that can't answer anybody now (RFC 9110 §15.6)
_DOWN = frozenset({500, 502, 503, 504})


def concerns_all(error: Error, common: bool) -> bool:
    """Say whether an error is about the server; ``common``: of a request that says nothing but
    that something is wanted, such as newOrder."""
    if isinstance(error, ProblemError):
        # the server itself says of a refusal what it is about (RFC 8555 §6.7)
        return _is_nonce(error) or common and (error.problem.status in _DOWN
                                               or not error.problem.type)
    # a connection that was made and broke may be about what was asked
    return isinstance(error, TransportError) and (common or type(error) is TransportError)


def _is_nonce(error: Error | None) -> bool:
    return isinstance(error, ProblemError) and error.problem.type == "badNonce"


class Standing:
    """What is known of the server; any thread may tell."""

    def __init__(self, doubted: bool = False) -> None:
        """``doubted``: it was out of order when it was asked last, in an earlier run."""
        self._lock = threading.Lock()
        self._asking: object = None          # who tries again, for all
        self._vain = VAIN - 1 if doubted else 0
        self._most = VAIN
        self._alone = True                   # whoever comes first tries
        self._orders_only = False            # what ails it was seen by newOrder alone
        self._error: Error | None = None     # the last one that concerns all

    @property
    def failing(self) -> bool:
        """True if somebody has given up, and nobody was answered since."""
        return self._vain > 0

    def is_hopeless(self, error: Error) -> bool:
        """Say whether a request that failed need not be tried again: somebody has given up on the
        same, and nobody was answered since."""
        return self._vain > 0 and error is self._error

    def admit(self, who: object, common: bool = False) -> Steps[None]:
        """Wait as long as another one tries for all; raises what has failed them all."""
        waited = 0.0
        while not self._may_ask(who, common):
            nap = min(max(NAP, waited / 2), LONGEST)
            waited += nap
            yield nap
            if waited >= SLOW:
                self._let_go()

    def _may_ask(self, who: object, common: bool) -> bool:
        with self._lock:
            if self._orders_only and not common:
                return True
            if self._vain >= self._most and self._error is not None:
                raise self._error.with_traceback(None)
            if self._asking is None and self._alone:
                self._asking = who
            return self._asking is None or self._asking is who

    def _let_go(self) -> None:
        """The first one is not answered: as far as anybody knows the server is slow, no more."""
        with self._lock:
            if self._error is None and not self._vain:
                self._asking, self._alone = None, False

    def failed(self, who: object, error: Error, common: bool) -> None:
        """A request has failed."""
        if not concerns_all(error, common):
            if isinstance(error, ProblemError) and error.problem.status not in _DOWN:
                self._works(common)
            return
        with self._lock:
            self._error, self._orders_only = error, not concerns_all(error, False)
            if self._asking is None:
                self._asking = who

    def answered(self, common: bool = False) -> None:
        """The server works; ``common``: it takes orders."""
        if common:
            self._most = LATER
        self._works(common)

    def _works(self, common: bool) -> None:
        unsure = self._alone or self._vain or self._asking is not None
        if not unsure or self._orders_only and not common:
            return
        with self._lock:
            self._asking = None
            # of one that was out of order nobody knows yet whether it takes orders
            self._orders_only = self._alone and not common
            if not self._orders_only:
                self._vain, self._error, self._alone = 0, None, False

    def left(self, who: object) -> None:
        """An order is at its end; if it was the one that tried for all, that was in vain."""
        if self._asking is who:
            with self._lock:
                self._asking = None
                if self._error is None:    # it has not got so far
                    return
                # that nonces are refused again and again is about nobody's order, unless the
                # server has taken those of others
                at_once = _is_nonce(self._error) and self._most == VAIN
                self._vain = self._most if at_once else self._vain + 1
