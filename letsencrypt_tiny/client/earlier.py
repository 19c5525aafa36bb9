"""Orders of an earlier run that nobody heard of: it was killed, or cut off, between newOrder and
its answer.  They are in the list of the account's orders (RFC 8555 §7.1.2.1), where a CA has one.
"""

import threading

from ..common import log
from ..common.errors import ProtocolError
from ..common.wire import jsonfields
from ..common.wire.order import Order
from . import links
from .connection import Response
from .order import OrderObject
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session
from .transport import TransportError

MAX_ORDERS = 10000      # in the account's list …
MAX_PAGES = 20          # … and the requests that it may take to read it
LOOKED_AT = 6           # of them, from each end: servers differ in where the new ones are
PAUSE = 0.02            # seconds between two looks whether another section has read it


class Earlier:
    """The account's orders, read once for all sections of a run that may have one among them.

    Any thread may ask.
    """

    def __init__(self, sections: int = 0) -> None:
        """``sections``: how many have asked for an order without hearing of one."""
        self._sections = sections
        self._lock = threading.Lock()    # held by who reads; the others don't wait in their threads
        self._found: dict[str, Response] | None = None    # URL -> the order

    def find(self, session: Session, request: Order, patience: Patience, order: OrderObject
             ) -> Steps[str | None]:
        """Return the URL of an order that ``request`` can go on with, which ``order`` learns; None
        if there is none, or none to be seen: a list that can't be read keeps nobody from his
        certificate.  Raises Error where nothing can be asked any more."""
        while self._found is None:
            if not self._lock.acquire(blocking=False):
                yield PAUSE
                continue
            try:
                if self._found is None:
                    self._found = yield from self._read(session, patience)
            finally:
                self._lock.release()    # who is next may have more luck
        for url, response in list(self._found.items()):
            if fits(session, request, response, order):
                self._found.pop(url, None)    # and no other section goes on with it
                return url
        return None

    def _read(self, session: Session, patience: Patience) -> Steps[dict[str, Response]]:
        try:
            urls = yield from newest(session, patience, LOOKED_AT + self._sections)
        except TransportError as exc:    # as newOrder will tell, if it isn't the list alone
            log.debug(f"{patience.section}: the account's orders: {exc}")
            return {}
        outcomes = yield [look(session, url, patience) for url in urls]
        for outcome in outcomes:
            if outcome.error is not None and not isinstance(outcome.error, TransportError):
                raise outcome.error
        return {url: outcome.value for url, outcome in zip(urls, outcomes)
                if isinstance(outcome.value, Response)}


def newest(session: Session, patience: Patience, number: int) -> Steps[list[str]]:
    """Return the URLs of ``number`` orders from each end of the account's list, last ones first;
    none if the CA has no such list.  Raises Error if the server can't be asked."""
    kid = session.kid or ""
    urls: list[str] = []
    try:
        if kid:
            account = yield from patience.busy(lambda: session.post_as_get(kid, "the account"))
            members = session.json(account, "the account")
            if members.get("orders"):    # §7.1.2; Boulder has none
                yield from _pages(session, session.url(members, "orders"), patience, urls)
    except (ProblemError, ProtocolError) as exc:    # what was read before holds
        log.debug(f"{patience.section}: the account's orders: {exc}")
    return list(dict.fromkeys(urls[:-number - 1:-1] + urls[:number]))


def _pages(session: Session, first: str, patience: Patience, urls: list[str]) -> Steps[None]:
    """Add to ``urls`` what the list holds, page by page: Link rel="next" (§7.1.2.1)."""
    page: str | None = first
    seen: set[str] = set()
    while page and page not in seen and len(seen) < MAX_PAGES and len(urls) < MAX_ORDERS:
        seen.add(page)
        base = page
        response = yield from patience.busy(
            lambda: session.post_as_get(base, "the account's orders"))
        for url in jsonfields.get_strs(session.json(response, "the account's orders"), "orders",
                                       MAX_ORDERS):
            try:
                urls.append(session.resolve(url, base, "an order"))
            except ProtocolError as exc:
                log.debug(f"{patience.section}: {exc}")
        following = links.find(response.get_all("link"), "next")
        page = session.resolve(following[0], base, "the orders: next") if following else None


def look(session: Session, url: str, patience: Patience) -> Steps[Response | None]:
    """Return what the server says of an order; None if it says nothing of it, or what can't be
    understood, twice."""
    for _ in range(2):
        try:
            response = yield from patience.busy(lambda: session.post_as_get(url, "an order"))
            session.json(response, "an order")
            return response
        except (ProblemError, ProtocolError) as exc:
            log.debug(f"{patience.section}: {exc}")
            if isinstance(exc, ProblemError):
                break
    return None


def fits(session: Session, request: Order, response: Response, order: OrderObject) -> bool:
    """Say whether ``request`` can go on with an order; if so, ``order`` learns what it holds."""
    candidate = OrderObject(session, request)
    try:
        candidate.update(response)
    except ProtocolError as exc:    # another's, mostly
        log.debug(f"{request.section}: {exc}")
        return False
    if not candidate.can_be_finalized or candidate.profile not in (None, request.profile):
        return False
    order.update(response)
    return True
