"""What became of a request that failed: the one place that decides (OUTCOMES of wire/order).

The administrator reads the message; the master goes by the outcome: whether an order is
forgotten, when the next run comes, whom else it concerns.
"""

from ..common.errors import Error, ProtocolError
from ..common.log import printable
from ..common.wire.order import Failed
from .account import NoAccount
from .authorization import Invalid
from .ordering import Gone
from .patience import TimedOut
from .problem import ProblemError
from .profiles import NotOffered
from .scheduler import Interrupted
from .signer import Refused, SignerError
from .transport import TransportError

# Where it happened: before any request of the master's, in one, in one that has an order
RUN, REQUEST, ORDER = 0, 1, 2

# The first row that fits decides
#                   run, request, order
TABLE: tuple[tuple[type[Error], tuple[str, str, str]], ...] = (
    (Invalid,        ("refused", "refused", "refused")),            # the order is dead (§7.1.6)
    (NotOffered,     ("refused", "refused", "refused")),
    (Gone,           ("refused", "refused", "refused")),
    (TimedOut,       ("unfinished", "unfinished", "unfinished")),
    (Interrupted,    ("unfinished", "unfinished", "unfinished")),
    (NoAccount,      ("lost", "lost", "lost")),
    (Refused,        ("lost", "unfinished", "unfinished")),         # the next may be signed
    (SignerError,    ("lost", "lost", "lost")),
    (TransportError, ("lost", "lost", "unfinished")),
    # An order lives on until the server says that it is invalid or gone; but see PROBLEMS
    (ProblemError,   ("lost", "refused", "unfinished")),
    (Error,          ("lost", "unfinished", "unfinished")),
)
# Problems (§6.7) that are no verdict on what was asked for, wherever they come
PROBLEMS = {
    "badNonce": "unfinished", "orderNotReady": "unfinished", "userActionRequired": "unfinished",
    "invalidProfile": "refused",
    "accountDoesNotExist": "lost", "badSignatureAlgorithm": "lost", "badPublicKey": "lost",
}


def of(error: Error, where: int) -> str:
    """Return the outcome of an error that happened in ``where``: RUN, REQUEST or ORDER."""
    if isinstance(error, ProblemError):
        if error.busy:
            return "busy"
        if error.problem.type in PROBLEMS:
            return PROBLEMS[error.problem.type]
    return next(row[where] for kind, row in TABLE if isinstance(error, kind))


# … and those that say which certificates the CA makes: another may make this one.  Not a challenge
# that failed: it would fail there, too.  CAA records (RFC 8659) name CAs: they are about this one.
ELSEWHERE = frozenset({"rejectedIdentifier", "unsupportedIdentifier", "caa", "invalidProfile"})


def elsewhere(error: Error, where: int) -> str:
    """Return why another CA may do better (``ELSEWHERE`` of the messages), "" if it would not."""
    if isinstance(error, NotOffered):
        return "refused"
    if isinstance(error, (ProblemError, Invalid)) and error.problem is not None:
        problem = error.problem
        if problem.type == "rateLimited" or problem.status == 429:
            return "limited"
        if isinstance(error, ProblemError) and _is_down(error, where):
            return "down"
        return "refused" if ELSEWHERE.intersection(
            {problem.type, *(item.type for item in problem.subproblems)}) else ""
    if isinstance(error, TransportError) or where == RUN and isinstance(error, ProtocolError):
        return "down"
    return ""


def _is_down(error: ProblemError, where: int) -> bool:
    """Say whether the server, or somebody before it, says nothing of what was asked for."""
    return (error.busy or error.problem.type == "badNonce"
            or where != ORDER and not error.problem.type)


def failed(section: str, error: Error, where: int, asked: bool = False) -> Failed:
    """Return the answer that tells the master of an error; ``asked``: there may be an order."""
    kind: str | None = None
    retry_after: int | None = None
    if isinstance(error, (ProblemError, Invalid)) and error.problem is not None:
        kind = error.problem.type or None
    if isinstance(error, (ProblemError, TimedOut)):
        retry_after = error.retry_after
    return Failed(section, printable(error, 8000), of(error, where), kind, retry_after,
                  elsewhere(error, where), asked)
