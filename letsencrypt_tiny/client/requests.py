"""The run as a task: directory, account, then all of the master's requests at once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..common import log
from ..common.errors import Error, LocalProtocolError, ProtocolError
from ..common.names import Identifier
from ..common.wire.account import AccountUpdate
from ..common.wire.order import (Answer, ClientConfig, Directory, Log, Order, Progress, Request,
                                 Revocation)
from ..common.wire.probe import Probe
from ..common.wire.renewal import RenewalQuery
from . import account, certificate, outcome, reaching, renewalinfo
from .challenges.table import Solvers
from .earlier import Earlier
from .ordering import Ordering
from .pace import Pace
from .patience import Patience
from .problem import ProblemError
from .replies import Replies
from .scheduler import Steps, Task
from .session import Session
from .standing import Standing
from .written import Written


class Shared(NamedTuple):
    """What the orders of a run have in common (``Patience``)."""

    pace: Pace | None = None
    written: Written = Written()
    standing: Standing | None = None


Perform = Callable[[Request, Patience], Steps[Answer]]


def whole_run(config: ClientConfig, session: Session, requests: Sequence[Request],
              replies: Replies, solvers: Solvers, written: Written = Written()) -> Steps[None]:
    """Do all that is asked for.  Raises Error if the server can't be worked with at all."""
    if renewalinfo.is_about_renewal(requests):
        return (yield from renewalinfo.whole_run(session, requests, replies))
    pace = Pace(sum(isinstance(request, Order) for request in requests),
                session.connections.distance)
    earlier = Earlier(sum(isinstance(request, Order) and request.asked for request in requests))
    standing = Standing(config.doubted)
    shared = Shared(pace, written, standing)
    _doubt(session, config)
    # that it has a directory does not mean that it takes orders
    patience = Patience("", config.access.timeout, quietly(replies), pace,
                        standing=Standing(config.doubted))
    if not session.remembers:
        yield from reaching.reach(session, patience, config.access.jobs, len(requests))
    told = Directory(session.directory.issuers, session.directory.renewal_info is not None)
    if told.issuers not in ((), config.issuers) or told.renewal_info:
        replies(told)
    if any(isinstance(request, Order) for request in requests):
        yield from account.identify(session, config, patience, replies)

    def perform(request: Request, patience: Patience) -> Steps[Answer]:
        if isinstance(request, Order):
            return (yield from _order(session, request, solvers, patience, earlier))
        if isinstance(request, AccountUpdate):
            from . import update    # which has been loaded (``main``)
            return (yield from update.update(session, request, patience, replies))
        if isinstance(request, (Probe, RenewalQuery)):    # see online/, renewalinfo.py
            raise LocalProtocolError("a question among other requests")
        return (yield from certificate.revoke(session, request, prove(request, patience), patience,
                                              replies))

    def prove(request: Revocation, patience: Patience) -> Steps[None]:
        """Find the account and, if that is wanted, have it authorized for a certificate's names."""
        yield from account.identify(session, config, patience, replies)
        if request.challenges:
            order = Order(request.section, request.identifiers, b"", challenges=request.challenges)
            yield from Ordering(session, order, solvers, patience).authorize()

    tasks: list[Task] = [in_turn(batch, perform, config.access.timeout, replies, shared)
                         for batch in batches(requests)]
    for ended in (yield tasks):
        if ended.error is not None:
            raise ended.error
    if standing.failing and session.document:
        replies(told._replace(document=session.document))


def _order(session: Session, request: Order, solvers: Solvers, patience: Patience,
           earlier: Earlier) -> Steps[Answer]:
    """Order, and once more if what was remembered of the directory isn't so any more."""
    remembered = session.remembers
    try:
        return (yield from Ordering(session, request, solvers, patience, earlier).run())
    except Error as exc:
        if not remembered or patience.url is not None or not _has_moved(exc):
            raise
        log.debug(f"{request.section}: {exc}; the directory is fetched")
    if session.remembers:
        yield from patience.busy(session.fetch_directory)
    return (yield from Ordering(session, request, solvers, patience, earlier).run())


def _has_moved(error: Error) -> bool:
    """Say whether the directory may have changed since it was remembered."""
    return isinstance(error, ProtocolError) or isinstance(error, ProblemError) and (
        error.gone or error.problem.status == 405)


def _doubt(session: Session, config: ClientConfig) -> None:
    """Say so to the session if the server was out of order, and what its directory was then, if
    that was remembered."""
    if not config.doubted:
        return
    try:
        session.doubt(config.directory)
    except ProtocolError as exc:    # what a client gone wrong made the master remember
        log.debug(exc)


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
            replies: Replies, shared: Shared = Shared()) -> Steps[None]:
    """Do requests one by one; whatever happens to one, the next has its turn."""
    for request in requests:
        patience = (Patience(request.section, timeout, replies, *shared)
                    if isinstance(request, Order) else Patience("", timeout, quietly(replies)))
        patience.asked = isinstance(request, Order) and request.asked
        try:
            replies.final(request, (yield from perform(request, patience)))
        except Exception as exc:    # even our own mistake must not cost others their certificates
            replies.failed(request, exc, outcome.REQUEST if patience.url is None
                           else outcome.ORDER, patience.asked)
        finally:
            patience.end()
