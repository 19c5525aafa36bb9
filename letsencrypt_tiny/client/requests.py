"""The run as a task: directory, account, then all of the master's requests at once."""

from collections.abc import Callable, Sequence

from ..common.errors import LocalProtocolError
from ..common.names import Identifier
from ..common.wire.account import AccountUpdate
from ..common.wire.order import (Answer, ClientConfig, Directory, Log, Order, Progress, Request)
from ..common.wire.probe import Probe
from . import account, certificate, outcome
from .challenges.table import Solvers
from .ordering import Ordering
from .patience import Patience
from .replies import Replies
from .scheduler import Steps, Task
from .session import Session

Perform = Callable[[Request, Patience], Steps[Answer]]


def whole_run(config: ClientConfig, session: Session, requests: Sequence[Request],
              replies: Replies, solvers: Solvers) -> Steps[None]:
    """Do all that is asked for.  Raises Error if the server can't be worked with at all."""
    patience = Patience("", config.access.timeout, quietly(replies))
    yield from patience.busy(session.fetch_directory)
    if session.directory.issuers not in ((), config.issuers):
        replies(Directory(session.directory.issuers))
    if any(isinstance(request, Order) for request in requests):
        yield from account.identify(session, config, patience, replies)

    def perform(request: Request, patience: Patience) -> Steps[Answer]:
        if isinstance(request, Order):
            return (yield from Ordering(session, request, solvers, patience).run())
        if isinstance(request, AccountUpdate):
            from . import update    # which has been loaded (``main``)
            return (yield from update.update(session, request, patience, replies))
        if isinstance(request, Probe):
            raise LocalProtocolError("a probe among other requests")    # see online/
        identify = account.identify(session, config, patience, replies)
        return (yield from certificate.revoke(session, request, identify, patience, replies))

    tasks: list[Task] = [in_turn(batch, perform, config.access.timeout, replies)
                         for batch in batches(requests)]
    for ended in (yield tasks):
        if ended.error is not None:
            raise ended.error


def quietly(replies: Replies) -> Callable[[Answer], None]:
    """Waits that concern no section are told of as signs of life only."""
    def tell(answer: Answer) -> None:
        replies(Log("debug", f"the client waits{_seconds(answer)}"))
    return tell


def _seconds(answer: Answer) -> str:
    return f" {answer.wait} s" if isinstance(answer, Progress) and answer.wait else ""


def batches(requests: Sequence[Request]) -> list[list[Request]]:
    """Return lists of requests; the lists run at once, the requests of one in turn.

    A server may answer two newOrders for the same identifiers with the same order (RFC 8555
    §7.4), of which only one can be finalized with a given CSR: certificates of several
    keys for the same names wait for each other.
    """
    by_identifiers: dict[frozenset[Identifier], list[Request]] = {}
    others: list[Request] = []
    for request in requests:
        if isinstance(request, Order):
            by_identifiers.setdefault(frozenset(request.identifiers), []).append(request)
        else:
            others.append(request)
    return ([others] if others else []) + list(by_identifiers.values())


def in_turn(requests: Sequence[Request], perform: Perform, timeout: int,
            replies: Replies) -> Steps[None]:
    """Do requests one by one; whatever happens to one, the next has its turn."""
    for request in requests:
        patience = (Patience(request.section, timeout, replies) if isinstance(request, Order)
                    else Patience("", timeout, quietly(replies)))
        try:
            replies.final(request, (yield from perform(request, patience)))
        except Exception as exc:    # even our own mistake must not cost others their certificates
            replies.failed(request, exc, outcome.REQUEST if patience.url is None
                           else outcome.ORDER)
