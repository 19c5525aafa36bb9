"""The server refuses a request: its problem document (RFC 8555 §6.7) as an exception."""

from ..common.errors import Error
from ..common.wire.problems import Problem

# "Leave me alone for a while" (§6.6, §6.7): nothing is said of what was asked for
_BUSY = frozenset({"rateLimited", "serverInternal"})
TOO_MANY_REQUESTS = 429   # RFC 6585 §4
UNAVAILABLE = 503         # RFC 9110 §15.6.4


class ProblemError(Error):
    """The server refused a request."""

    def __init__(self, problem: Problem, retry_after: int | None = None,
                 what: str = "") -> None:
        text = problem.text()
        super().__init__(f"{what}: {text}" if what else text)
        self.problem = problem
        self.retry_after = retry_after    # seconds

    @property
    def busy(self) -> bool:
        """True if it is about the server's load or health, whatever was asked for."""
        problem = self.problem
        return (problem.type in _BUSY or problem.status == TOO_MANY_REQUESTS
                or problem.status >= 500)
