"""newOrder (RFC 8555 §7.4), and what became of one whose answer never came (§7.1.2.1)."""

from collections.abc import Callable

from ..common import log
from ..common.errors import ProtocolError
from ..common.wire import jsonfields
from ..common.wire.jsonfields import JsonObject
from ..common.wire.order import Order
from .connection import Response
from .order import OrderObject
from .patience import Patience
from .problem import ProblemError
from .profiles import is_refused
from .scheduler import Steps
from .session import Session
from .transport import CutOff, NoAnswer

# What newOrder may answer if it doesn't like “replaces” (RFC 9773 §5; Boulder)
_NOT_REPLACEABLE = ("alreadyReplaced", "notFound", "unauthorized", "malformed")
MAX_ORDERS = 10000      # in the account's list
LOOKED_AT = 6           # of them, from each end: servers differ in where the new ones are


def make(session: Session, request: Order, patience: Patience, order: OrderObject) -> Steps[str]:
    """Ask for a new order and return its URL; ``order`` learns what it holds.

    Where nobody knows whether there is one by now, the account's orders are looked through
    before it is asked for again (servers without a list answer with the same order).
    Raises Error.
    """
    payload = _payload(session, request)
    target = session.directory.new_order
    tries = 0
    while True:
        yield from patience.admit(True)
        try:
            response = patience.timed(lambda: session.post(target, payload, "newOrder"), True)
        except (ProblemError, CutOff, NoAnswer) as exc:
            if "replaces" in payload and _is_not_replaceable(exc):
                del payload["replaces"]
                log.debug(f"{request.section}: newOrder again without “replaces”: {exc}")
                continue
            if "profile" in payload and is_refused(exc):
                session.profiles.refused(request, exc)
                del payload["profile"]
                continue
            if not isinstance(exc, NoAnswer):
                yield patience.pause(exc, tries)
            elif tries:
                raise
            tries += 1
            # Whoever says 503 has not heeded it (RFC 9110 §15.6.4)
            if isinstance(exc, (CutOff, NoAnswer)) or exc.doubtful and exc.problem.status != 503:
                url = yield from _find(session, request, patience, order)
                if url is not None:
                    return url
        else:
            url = session.location(response, target, "newOrder")
            order.update(response)
            order.asked = payload.get("profile")
            return url


def _is_not_replaceable(error: Exception) -> bool:
    """True if newOrder may have failed for “replaces” alone: as it says, or as the server has no
    answer for it (Pebble's is 500 for a moment after it has issued)."""
    if not isinstance(error, ProblemError):
        return False
    if error.problem.status == 500:
        return not error.passing
    return error.problem.type in _NOT_REPLACEABLE and not error.busy


def _payload(session: Session, request: Order) -> JsonObject:
    directory = session.directory
    payload: JsonObject = {"identifiers": [{"type": kind, "value": value}
                                           for kind, value in request.identifiers]}
    profile = session.profiles.choose(request, directory.profiles)
    if profile is not None:
        payload["profile"] = profile
    if request.replaces is not None and directory.renewal_info is not None \
            and request.account in ("", session.greeting.thumbprint):    # RFC 9773 §5
        payload["replaces"] = request.replaces
    return payload


def _find(session: Session, request: Order, patience: Patience,
          order: OrderObject) -> Steps[str | None]:
    """Return the URL of an order of the account's that can be gone on with, if there is one."""
    kid = session.kid or ""
    if not kid:
        return None
    try:
        account = yield from patience.busy(lambda: session.post_as_get(kid, "the account"))
        members = session.json(account, "the account")
        if not members.get("orders"):    # §7.1.2; Boulder has none
            return None
        listed = yield from patience.busy(
            lambda: session.post_as_get(session.url(members, "orders"), "the account's orders"))
        urls = jsonfields.get_strs(session.json(listed, "the account's orders"), "orders",
                                   MAX_ORDERS)
    except (ProblemError, ProtocolError) as exc:
        log.debug(f"{request.section}: no list of orders: {exc}")
        return None
    for url in dict.fromkeys(urls[:-LOOKED_AT - 1:-1] + urls[:LOOKED_AT]):
        try:
            session.check_url(url, "an order")
            response = yield from patience.busy(_fetching(session, url))
            candidate = OrderObject(session, request)
            candidate.update(response)
        except (ProblemError, ProtocolError) as exc:    # another's, mostly
            log.debug(f"{request.section}: {exc}")
            continue
        if candidate.can_be_finalized and candidate.profile in (None, request.profile):
            order.update(response)
            return url
    return None


def _fetching(session: Session, url: str) -> Callable[[], Response]:
    return lambda: session.post_as_get(url, "an order")
