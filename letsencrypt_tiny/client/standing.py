"""How the server is, as the orders of a run find it.

What keeps every order from going on is found out by one of them: while it tries again, the others
wait, and do not ask the same.  When it has given up, the next one tries once; what fails that one,
too, fails them all, as one failure.  (A server that has taken orders in this run is given more of
a chance: it may be these few that it does not like.)

Whatever may be about one order alone, such as the answer to its poll, holds nobody else up.
"""

import threading

from ..common.errors import Error
from .problem import ProblemError
from .scheduler import Steps
from .transport import TransportError

NAP = 0.1        # seconds between two looks of who waits
VAIN = 2         # orders in a row that the server has failed: the third need not ask, …
LATER = 20       # … nor the next after so many, if it has taken orders before

# HTTP status of a server, or somebody before it, that can't answer anybody now (RFC 9110 §15.6)
_DOWN = frozenset({502, 503, 504})


def concerns_all(error: Error, common: bool) -> bool:
    """Say whether an error is about the server; ``common``: of a request that says nothing but
    that something is wanted, such as newOrder."""
    if isinstance(error, ProblemError):
        return error.problem.type == "badNonce" or common and error.problem.status in _DOWN
    # a connection that was made and broke may be about what was asked
    return isinstance(error, TransportError) and (common or type(error) is TransportError)


class Standing:
    """What is known of the server; any thread may tell."""

    def __init__(self, doubted: bool = False) -> None:
        """``doubted``: it was out of order when it was asked last, in an earlier run."""
        self._lock = threading.Lock()
        self._asking: object = None          # who tries again, for all
        self._vain = VAIN - 1 if doubted else 0
        self._most = VAIN
        self._alone = doubted                # whoever comes first tries
        self._error: Error | None = None     # the last one that concerns all

    def is_hopeless(self, error: Error) -> bool:
        """Say whether a request that failed need not be tried again: somebody has given up on the
        same, and nobody was answered since."""
        return self._vain > 0 and error is self._error

    def admit(self, who: object) -> Steps[None]:
        """Wait as long as another one tries for all; raises what has failed them all."""
        while True:
            with self._lock:
                if self._vain >= self._most and self._error is not None:
                    raise self._error.with_traceback(None)
                if self._asking is None and self._alone:
                    self._asking = who
                if self._asking is None or self._asking is who:
                    return
            yield NAP

    def failed(self, who: object, error: Error, common: bool) -> None:
        """A request has failed."""
        if not concerns_all(error, common):
            if isinstance(error, ProblemError) and error.problem.status not in _DOWN:
                self.answered()
            return
        with self._lock:
            self._error = error
            if self._asking is None:
                self._asking = who

    def answered(self, common: bool = False) -> None:
        """The server works; ``common``: it takes orders."""
        if common:
            self._most = LATER
        if self._asking is not None or self._vain:
            with self._lock:
                self._asking, self._vain, self._error, self._alone = None, 0, None, False

    def left(self, who: object) -> None:
        """An order is at its end; if it was the one that tried for all, that was in vain."""
        if self._asking is who:
            with self._lock:
                self._asking = None
                self._vain += 1
