"""The way of an order (RFC 8555 §7.4): from newOrder to the certificate, by its states (§7.1.6).

The way with the fewest requests: newOrder, each authorization and its challenge, one
poll of the *order* when the server has had time to validate, finalize, one more poll,
certificate.
"""

from ..common import log
from ..common.wire import jose
from ..common.errors import Error, ProtocolError
from ..common.wire.order import MAX_ANSWER, Issued, Order
from . import authorization, certificate, neworder, profiles
from .authorization import Authorizer, Invalid
from .challenges import table
from .earlier import Earlier
from .order import NoOrder, OrderObject, advance, wanted
from .patience import Patience
from .problem import ProblemError
from .profiles import OtherProfile, is_refused
from .scheduler import Steps
from .session import Session
from .transport import CutOff, NoAnswer

SHOWN_FAILURES = 10
# A finalize that nobody knows the end of: how often the order is looked at before it is sent again
LOOKS = 3
# What a server calls an order that it doesn't know, or not as this account's
_NOT_OURS = ("malformed", "unauthorized")


class Gone(Error):
    """The server has no such order any more."""


class Ordering:
    """One order on its way."""

    def __init__(self, session: Session, request: Order, solvers: table.Solvers,
                 patience: Patience, earlier: Earlier | None = None) -> None:
        self._session = session
        self._request = request
        self._solvers = solvers
        self._patience = patience
        self._earlier = earlier
        self._order = OrderObject(session, request)
        self._url = ""
        self._state = "new"

    def run(self) -> Steps[Issued]:
        """Obtain the certificate; raises Error."""
        try:
            return (yield from self._obtain())
        except (ProblemError, Invalid) as exc:
            if self._request.profile is None or not is_refused(exc):
                raise
            self._session.profiles.refused(self._request, exc)    # at finalize
        self._request = self._request._replace(profile=None, url=None, asked=False)
        self._state = "new"
        return (yield from self._obtain())

    def _obtain(self) -> Steps[Issued]:
        authorizer = yield from self._authorizer()
        try:
            return (yield from self._work_through(authorizer))
        finally:
            # Not before: a challenge that was responded to twice, in an earlier run and in this
            # one, may be validated twice.
            yield from authorizer.release()

    def _authorizer(self) -> Steps[Authorizer]:
        """Have an order; return who authorizes its identifiers."""
        solvers = table.choose(self._solvers, self._request.challenges)
        yield from self._begin()
        self._enter()
        return Authorizer(self._session, solvers, self._patience, wanted(self._request))

    def authorize(self) -> Steps[None]:
        """Have the identifiers authorized (§7.5), and no certificate: the order is left to expire.
        """
        authorizer = yield from self._authorizer()
        try:
            if self._order.status == "pending":
                yield from self._validate(authorizer)
            if self._order.status == "invalid":
                raise (yield from self._why_invalid())
        finally:
            yield from authorizer.release()

    def _work_through(self, authorizer: Authorizer) -> Steps[Issued]:
        """Bring the order from its state to its end (§7.1.6)."""
        order = self._order
        if order.status == "pending":
            yield from self._validate(authorizer)
        if order.status == "ready":
            yield from self._finalize()
        while order.status == "processing":
            yield from self._poll()
        if order.status == "invalid":
            raise (yield from self._why_invalid())
        chain, alternates = yield from certificate.download(
            self._session, order.certificate_url(), self._request.alternates, self._patience)
        return Issued(self._request.section, chain,
                      certificate.fit(chain, alternates, MAX_ANSWER - 4096),
                      profiles.said(order.profile))

    # --- steps ----------------------------------------------------------------------------

    def _begin(self) -> Steps[None]:
        url, account = self._request.url, self._request.account
        # Another key's account may not touch it (§7.1.3)
        if url is not None and account in ("", self._session.greeting.thumbprint):
            if (yield from self._take_up(url)):
                return
        self._patience.url = self._patience.finalize = None
        self._order = OrderObject(self._session, self._request)
        if self._request.asked and self._earlier is not None:
            # where the server is in doubt, others find out for less
            yield from self._patience.admit(True)
            found = yield from self._earlier.find(self._session, self._request, self._patience,
                                                  self._order)
            self._patience.asked = False
            if found is not None:
                self._url = found
                return
        self._url = yield from neworder.make(self._session, self._request, self._patience,
                                             self._order)

    def _enter(self) -> None:
        self._state = advance(self._state, self._order.status)
        self._patience.url = self._url
        self._patience.finalize = self._order.finalize
        self._patience.enter(self._state)

    def _take_up(self, url: str) -> Steps[bool]:
        """Fetch an earlier unfinished order; False if it is of no use any more.

        It is of use until the server says that it isn't: whatever else it answers is raised.
        """
        try:
            self._session.check_url(url, "the earlier order")
        except ProtocolError as exc:    # what a client gone wrong made the master remember
            return self._useless(exc)
        self._url = self._patience.url = url
        self._order = OrderObject(self._session, self._request, self._request.finalize)
        self._patience.finalize = self._order.finalize
        try:
            yield from self._fetch()
            self._order.check_usable()
            self._session.profiles.check_earlier(self._request, self._order.profile)
        except (Gone, NoOrder, OtherProfile) as exc:
            return self._useless(exc)
        except ProblemError as exc:
            if exc.busy or exc.problem.type not in _NOT_OURS:
                raise
            return self._useless(exc)
        return True

    def _useless(self, why: Error) -> bool:
        log.debug(f"{self._request.section}: the earlier order: {why}")
        return False

    def _validate(self, authorizer: Authorizer) -> Steps[None]:
        """Do all authorizations (§7.5), then poll the order until it leaves “pending”."""
        outcomes = yield [authorizer.authorize(url) for url in self._order.authorizations()]
        errors = [outcome.error for outcome in outcomes if outcome.error is not None]
        for error in errors:
            if isinstance(error, Invalid):    # whatever else there is, the order is dead
                raise error
        for error in errors:
            raise _gone(error)
        # No sooner than each of the server's answers allows
        waits = [outcome.value for outcome in outcomes if isinstance(outcome.value, int)]
        if waits:
            self._order.retry_after = max(waits)
        while self._order.status == "pending":
            yield from self._poll()

    def _finalize(self) -> Steps[None]:
        """Send the CSR (§7.4); the order is processing or even valid afterwards.

        If nobody knows what became of that, or the server says no, the order itself is looked at:
        only what is still ready is sent again, or given up for this run.
        """
        self._session.profiles.differs(self._request, self._order.asked, self._order.profile)
        url = self._order.finalize_url()
        yield from self._patience.until_written()
        tries = 0
        while self._order.status == "ready":
            yield from self._patience.admit()
            try:
                response = self._patience.timed(lambda: self._session.post(
                    url, {"csr": jose.encode_text(self._request.csr)}, "finalize"))
            except (ProblemError, CutOff, NoAnswer) as exc:
                yield from self._look_after(exc, tries)
                tries += 1
            else:
                self._order.update(response)
                self._enter()
                while self._order.status == "ready":    # a server that lags behind itself
                    yield from self._poll()

    def _look_after(self, error: Error, tries: int) -> Steps[None]:
        """Look at the order after a finalize that failed; raises what there is to be told."""
        if isinstance(error, ProblemError) and not error.passing:
            if error.busy and error.problem.status < 500:
                raise error    # no verdict
            # Sent twice, and answered the first time; or a verdict that killed the order; or the
            # server has erred, and perhaps only in its answer
            yield from self._fetch()
            if self._order.status in ("pending", "ready"):
                raise _gone(error)
            self._enter()
            return
        if not isinstance(error, NoAnswer):
            yield self._patience.pause(error, tries)
        elif tries:
            raise error
        yield from self._fetch()
        self._enter()
        if isinstance(error, NoAnswer):
            for _ in range(LOOKS):    # perhaps it is at work still
                if self._order.status == "ready":
                    yield from self._poll()

    def _poll(self) -> Steps[None]:
        yield from self._patience.until_poll(self._order.retry_after)
        yield from self._fetch(polling=True)
        self._enter()

    def _fetch(self, polling: bool = False) -> Steps[None]:
        """Learn from the order's URL how it is; raises Gone where nothing is."""
        try:
            response = yield from self._patience.busy(
                lambda: self._session.post_as_get(self._url, "the order"), polling)
        except ProblemError as exc:
            if exc.gone:
                raise Gone(str(exc)) from exc
            raise
        self._order.update(response)

    def _why_invalid(self) -> Steps[Invalid]:
        """Return the error that tells why: of the authorizations that failed, or the order's."""
        failures: list[Invalid] = []
        for url in self._known_authorizations():
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
        problem = self._order.error
        if problem is not None:
            return Invalid(problem.text(), problem)
        return Invalid("the order is invalid, and the CA does not say why", None)

    def _known_authorizations(self) -> list[str]:
        try:
            return self._order.authorizations()
        except ProtocolError as exc:
            log.debug(f"{self._request.section}: {exc}")
            return []


def _gone(error: Exception) -> Exception:
    """An order can't be gone on with if the server says that a part of it does not exist."""
    if isinstance(error, ProblemError) and error.gone and error.problem.type:
        return Gone(str(error))
    return error
