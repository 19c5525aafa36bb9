"""The orders of an account (RFC 8555 §7.1.2.1), at CAs that tell them."""

from collections.abc import Callable

from ..common.errors import Error, ProtocolError
from ..common.log import debug, printable
from ..common.names import MAX_NAME
from ..common.wire.account import MAX_ORDERS, KnownOrder
from ..common.wire.jsonfields import JsonObject, get_objects, get_optional_str, get_str, get_strs
from ..common.wire.order import Answer, Log
from . import links
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session

_MAX_PAGES = 100


def tell(session: Session, account: JsonObject, patience: Patience,
         answer: Callable[[Answer], None]) -> Steps[None]:
    """Tell the master of each order of an account, MAX_ORDERS at most.

    Raises Error if the CA has no such list.
    """
    page: str | None = get_optional_str(account, "orders", 2048)
    if not page:
        raise Error(f"the CA at {session.directory_url} does not list the orders of an account")
    told = 0
    seen: set[str] = set()
    while page and page not in seen and len(seen) < _MAX_PAGES:
        seen.add(page)
        base = session.check_url(page, "“orders”")
        response = yield from patience.busy(lambda: session.post_as_get(base, "the orders"))
        for url in get_strs(session.json(response, "the orders"), "orders", 10000):
            if told == MAX_ORDERS:
                answer(Log("warning", f"there are more than {MAX_ORDERS} orders: the others are "
                                      "not shown"))
                return
            answer((yield from _order(session, session.resolve(url, base, "an order"), patience)))
            told += 1
        following = links.find(response.get_all("link"), "next")
        page = session.resolve(following[0], base, "the orders: next") if following else None


def _order(session: Session, url: str, patience: Patience) -> Steps[KnownOrder]:
    """Return what the CA says of an order; at the least there is its URL."""
    try:
        order = session.json((yield from patience.busy(
            lambda: session.post_as_get(url, "an order"))), "an order")
        names = tuple(get_str(item, "value", MAX_NAME)
                      for item in get_objects(order, "identifiers"))
        return KnownOrder(url, printable(get_str(order, "status", 32), 32),
                          printable(get_optional_str(order, "expires", 64) or "", 64), names)
    except (ProblemError, ProtocolError) as exc:
        debug(f"{url}: {exc}")
        return KnownOrder(url)
