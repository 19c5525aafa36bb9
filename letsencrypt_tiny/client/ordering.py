"""Orders (RFC 8555 §7.4): from newOrder to the certificate's URL, by the states of §7.1.6.

The way with the fewest requests: newOrder, each authorization and its challenge, one
poll of the *order* when the server has had time to validate, finalize, one more poll,
certificate.
"""

from typing import NamedTuple

from ..common import log
from ..common.wire import jose, jsonfields, problems
from ..common.errors import Error, ProtocolError
from ..common.wire.jsonfields import JsonObject
from ..common.wire.problems import Problem
from ..common.names import Identifier
from ..common.wire.order import MAX_ANSWER, Issued, Order
from . import authorization, certificate
from .authorization import Authorizer, Invalid
from .challenges import table
from .connection import Response
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session

MAX_AUTHORIZATIONS = 1000
SHOWN_FAILURES = 10

# The states of an order and what may follow each, seen from here: a poll may miss a state in
# between, and "new" is an order not seen yet, which may be an earlier one (§7.1.6).
NEXT: dict[str, frozenset[str]] = {
    "new": frozenset({"pending", "ready", "processing", "valid", "invalid"}),
    "pending": frozenset({"pending", "ready", "invalid"}),
    "ready": frozenset({"ready", "processing", "valid", "invalid"}),
    "processing": frozenset({"processing", "valid", "invalid"}),
    "valid": frozenset(),
    "invalid": frozenset(),
}
# States in which an earlier order is worth taking up again
RESUMABLE = frozenset({"pending", "ready", "processing", "valid"})
# What newOrder may answer if it doesn't like “replaces” (RFC 9773 §5; Boulder)
_NOT_REPLACEABLE = ("alreadyReplaced", "notFound", "unauthorized", "malformed")


class NotOffered(Error):
    """The CA has not what is asked for, and says so beforehand."""


class OrderObject(NamedTuple):
    """What an order object says (§7.1.3)."""

    status: str
    identifiers: frozenset[Identifier]
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str | None
    error: Problem | None
    retry_after: int | None       # seconds


def advance(state: str, status: str) -> str:
    """Return ``status`` if an order may come to it from ``state``; raises ProtocolError."""
    if status not in NEXT:
        raise ProtocolError(f"an order of the unknown status “{log.printable(status, 60)}”")
    if status not in NEXT[state]:
        raise ProtocolError(f"the order went from {state} to {status}, which RFC 8555 §7.1.6 "
                            "does not allow")
    return status


def parse(session: Session, response: Response, request: Order) -> OrderObject:
    """Take an order object apart and compare it with what was asked; raises ProtocolError."""
    obj = session.json(response, "the order")
    try:
        return _parse(session, obj, session.retry_after(response), request)
    except ProtocolError as exc:
        raise ProtocolError(f"the order is none as of RFC 8555 §7.1.3: {exc}") from exc


def _parse(session: Session, obj: JsonObject, retry_after: int | None,
           request: Order) -> OrderObject:
    identifiers = [(jsonfields.get_str(item, "type", 32),
                    jsonfields.get_str(item, "value", 300).lower())
                   for item in jsonfields.get_objects(obj, "identifiers", MAX_AUTHORIZATIONS)]
    urls = jsonfields.get_strs(obj, "authorizations", MAX_AUTHORIZATIONS)
    if len(urls) > len(request.identifiers) or len(set(urls)) != len(urls):
        raise ProtocolError(f"it has {len(urls)} authorizations for "
                            f"{len(request.identifiers)} identifiers")
    if len(set(identifiers)) != len(identifiers) or set(identifiers) != wanted(request):
        raise ProtocolError("it is for other identifiers than those asked for: " + (
            ", ".join(log.printable(name, 100) for _, name in identifiers[:10]) or "none"))
    return OrderObject(
        status=jsonfields.get_str(obj, "status", 32), identifiers=frozenset(identifiers),
        authorizations=tuple(session.check_url(url, "an authorization") for url in urls),
        finalize=session.url(obj, "finalize"),
        certificate=session.url(obj, "certificate") if obj.get("certificate") else None,
        error=problems.parse(obj["error"]) if obj.get("error") else None,
        retry_after=retry_after)


def wanted(request: Order) -> frozenset[Identifier]:
    """Return the identifiers of a request as they are compared."""
    return frozenset((kind, value.lower()) for kind, value in request.identifiers)


class Ordering:
    """One order on its way."""

    def __init__(self, session: Session, request: Order, solvers: table.Solvers,
                 patience: Patience) -> None:
        self._session = session
        self._request = request
        self._solvers = solvers
        self._patience = patience
        self._url = ""
        self._state = "new"

    def run(self) -> Steps[Issued]:
        """Obtain the certificate; raises Error."""
        solvers = table.choose(self._solvers, self._request.challenges)
        order = yield from self._begin()
        self._enter(order)
        authorizer = Authorizer(self._session, solvers, self._patience, order.identifiers)
        try:
            return (yield from self._work_through(order, authorizer))
        finally:
            # Not before: a challenge that was responded to twice, in an earlier run and in this
            # one, may be validated twice.
            yield from authorizer.release()

    def _work_through(self, order: OrderObject, authorizer: Authorizer) -> Steps[Issued]:
        """Bring the order from its state to its end (§7.1.6)."""
        if order.status == "pending":
            order = yield from self._validate(order, authorizer)
        if order.status == "ready":
            order = yield from self._finalize(order)
        while order.status == "processing":
            order = yield from self._poll(order)
        if order.status == "invalid":
            raise (yield from self._why_invalid(order))
        if order.certificate is None:    # §7.1.3
            raise ProtocolError("the order is valid, but the server names no certificate")
        chain, alternates = yield from certificate.download(
            self._session, order.certificate, self._request.alternates, self._patience)
        return Issued(self._request.section, chain,
                      certificate.fit(chain, alternates, MAX_ANSWER - 4096))

    # --- steps ----------------------------------------------------------------------------

    def _begin(self) -> Steps[OrderObject]:
        url, account = self._request.url, self._request.account
        # Another key's account may not touch it (§7.1.3)
        if url is not None and account in ("", self._session.greeting.thumbprint):
            earlier = yield from self._take_up(url)
            if earlier is not None:
                return earlier
        return (yield from self._new_order())

    def _enter(self, order: OrderObject) -> None:
        self._state = advance(self._state, order.status)
        self._patience.url = self._url
        self._patience.enter(self._state)

    def _take_up(self, url: str) -> Steps[OrderObject | None]:
        """Return an earlier unfinished order, None if it is of no use any more."""
        self._patience.url = url
        try:
            response = yield from self._patience.busy(
                lambda: self._session.post_as_get(url, "the earlier order"))
            order = parse(self._session, response, self._request)
        except (ProblemError, ProtocolError) as exc:
            if isinstance(exc, ProblemError) and exc.busy:
                raise    # nothing is said of the order
            log.debug(f"{self._request.section}: {exc}")
        else:
            if order.status in RESUMABLE and (order.status != "valid" or order.certificate):
                self._url = url
                return order
        self._patience.url = None
        return None

    def _new_order(self) -> Steps[OrderObject]:
        request, directory = self._request, self._session.directory
        payload: JsonObject = {"identifiers": [{"type": kind, "value": value}
                                               for kind, value in request.identifiers]}
        if request.profile is not None:
            if request.profile not in (directory.profiles or {}):
                offered = ", ".join(sorted(directory.profiles or {})) or "none"
                raise NotOffered(f"the CA has no profile “{request.profile}” (it offers "
                                 f"{log.printable(offered, 300)})")
            payload["profile"] = request.profile
        if request.replaces is not None and directory.renewal_info is not None:
            payload["replaces"] = request.replaces
        while True:
            try:
                response = yield from self._patience.busy(
                    lambda: self._session.post(directory.new_order, payload, "newOrder"))
                break
            except ProblemError as exc:
                if exc.problem.type not in _NOT_REPLACEABLE or "replaces" not in payload:
                    raise
                del payload["replaces"]
                log.debug(f"{request.section}: newOrder again without “replaces”: {exc}")
        self._url = self._session.location(response, "newOrder")
        return parse(self._session, response, request)

    def _validate(self, order: OrderObject, authorizer: Authorizer) -> Steps[OrderObject]:
        """Do all authorizations (§7.5), then poll the order until it leaves “pending”."""
        outcomes = yield [authorizer.authorize(url) for url in order.authorizations]
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        for error in errors:
            if isinstance(error, Invalid):    # whatever else there is, the order is dead
                raise error
        if errors:
            raise errors[0]
        # No sooner than each of the server's answers allows
        waits = [outcome.value for outcome in outcomes if isinstance(outcome.value, int)]
        if waits:
            order = order._replace(retry_after=max(waits))
        while order.status == "pending":
            order = yield from self._poll(order)
        return order

    def _finalize(self, order: OrderObject) -> Steps[OrderObject]:
        """Send the CSR (§7.4); the order is processing or even valid afterwards."""
        try:
            response = yield from self._patience.busy(lambda: self._session.post(
                order.finalize, {"csr": jose.encode_text(self._request.csr)}, "finalize"))
        except ProblemError as exc:
            # Sent twice, because the connection broke before the first answer
            if exc.problem.type != "orderNotReady":
                raise
            response = yield from self._fetch()
            again = parse(self._session, response, self._request)
            if again.status not in ("processing", "valid", "invalid"):
                raise
        order = parse(self._session, response, self._request)
        self._enter(order)
        while order.status == "ready":    # a server that lags behind itself
            order = yield from self._poll(order)
        return order

    def _poll(self, order: OrderObject) -> Steps[OrderObject]:
        yield self._patience.poll(order.retry_after)
        response = yield from self._fetch()
        order = parse(self._session, response, self._request)
        self._enter(order)
        return order

    def _fetch(self) -> Steps[Response]:
        return (yield from self._patience.busy(
            lambda: self._session.post_as_get(self._url, "the order")))

    def _why_invalid(self, order: OrderObject) -> Steps[Invalid]:
        """Return the error that tells why: of the authorizations that failed, or the order's."""
        failures: list[Invalid] = []
        for url in order.authorizations:
            try:
                response = yield from self._patience.busy(
                    lambda: self._session.post_as_get(url, "the authorization"))
                found = authorization.parse(self._session.json(response, "the authorization"))
            except (ProblemError, ProtocolError) as exc:
                log.debug(f"{self._request.section}: {exc}")
                continue
            except Error as exc:    # unreachable, or no time left: dead it is all the same
                log.debug(f"{self._request.section}: {exc}")
                break
            if found.status == "invalid":
                failures.append(authorization.failure(found))
            if len(failures) == SHOWN_FAILURES:
                break
        if failures:
            return Invalid("; ".join(map(str, failures)),
                           next((item.problem for item in failures if item.problem), None))
        if order.error is not None:
            return Invalid(order.error.text(), order.error)
        return Invalid("the order is invalid, and the server does not say why", None)
