"""The server refuses a request: its problem document (RFC 8555 §6.7) as an exception."""

from ..common import log
from ..common.errors import Error, ProtocolError
from ..common.wire import jsonfields, problems
from ..common.wire.jsonfields import JsonObject
from ..common.wire.problems import Problem
from .connection import Response

MAX_JSON = 1 << 20          # bytes of a JSON response
_BOM = b"\xef\xbb\xbf"

# "Leave me alone for a while" (§6.6, §6.7): nothing is said of what was asked for
_BUSY = frozenset({"rateLimited", "serverInternal"})
# A request that did not arrive in time, or too early; too many of them (RFC 9110 §15.5.9,
# RFC 8470 §5.2, RFC 6585 §4)
_LATER = frozenset({408, 425, 429})
# Of the server, or somebody before it, that can't answer just now (RFC 9110 §15.6)
_GATEWAY = frozenset({408, 425, 502, 503, 504})
_GONE = frozenset({404, 410})


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
        return (problem.type in _BUSY or problem.status in _LATER
                or problem.status >= 500)

    @property
    def verdict(self) -> bool:
        """True if the server has judged what was asked for, or who asks (RFC 9110 §15.5)."""
        return 400 <= self.problem.status < 500 and not self.busy and not self.doubtful

    @property
    def passing(self) -> bool:
        """True if the same request, in a moment, may be answered otherwise."""
        return self.problem.status in _GATEWAY or (self.busy and self.retry_after is not None)

    @property
    def doubtful(self) -> bool:
        """True if it may have heeded the request: it has erred, or somebody before it says this."""
        return not self.problem.type and (self.problem.status in _GATEWAY
                                          or self.problem.status >= 500)

    @property
    def gone(self) -> bool:
        """True if there is nothing at the URL."""
        return self.problem.status in _GONE

    def with_words(self, words: str) -> "ProblemError":
        """Return the same with more to read."""
        more = ProblemError(self.problem, self.retry_after)
        more.args = (f"{self}{words}",)
        return more


def parse_object(response: Response, what: str) -> JsonObject:
    """Return the JSON object that a response holds; raises ProtocolError."""
    return jsonfields.parse_object(response.body.removeprefix(_BOM), what, MAX_JSON)


def parse_problem(response: Response, what: str) -> Problem:
    """Return what a response that is an error says, whatever it claims to be (§6.7)."""
    kind = response.media_type
    if "json" in kind or response.body.removeprefix(_BOM).lstrip()[:1] == b"{":
        try:
            return problems.parse(parse_object(response, what), response.status)
        except ProtocolError as exc:
            log.debug(f"an unreadable problem document: {exc}")
    elif kind.startswith("text/"):
        return problems.from_text(response.body, response.status)
    return Problem("", "", response.status)
