"""The run as a task: directory, account, then all of the master's requests at once."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from ..common.errors import LocalProtocolError
from ..common.names import Identifier
from ..common.wire.account import AccountUpdate
from ..common.wire.order import (Answer, ClientConfig, Directory, Log, Order, Progress, Request,
                                 Revocation)
from ..common.wire.probe import Probe
from ..common.wire.renewal import RenewalQuery
from . import account, certificate, outcome, reaching, remembered, renewalinfo
from .challenges.table import Solvers
from .earlier import Earlier
from .ordering import Ordering
from .pace import Pace
from .patience import Patience
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
    pace = Pace(session.connections.distance)
    earlier = Earlier(sum(isinstance(request, Order) and request.asked for request in requests))
    standing = Standing(config.doubted)
    shared = Shared(pace, written, standing)
    remembered.recall(session, config)
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
            ordering = partial(Ordering, session, request, solvers, patience, earlier)
            return (yield from remembered.twice(session, patience, lambda: ordering().run()))
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
    if standing.failing and session.document:    # which the next run is to have
        replies(told._replace(document=session.document))


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
