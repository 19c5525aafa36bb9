"""newOrder (RFC 8555 §7.4), and what became of one whose answer never came (§7.1.2.1)."""

from ..common import log
from ..common.errors import ProtocolError
from ..common.wire.jsonfields import JsonObject
from ..common.wire.order import Order
from . import earlier
from .order import OrderObject
from .patience import Patience
from .problem import ProblemError
from .profiles import is_refused
from .scheduler import Steps
from .session import Session
from .transport import CutOff, NoAnswer

# What newOrder may answer if it doesn't like “replaces” (RFC 9773 §5; Boulder)
_NOT_REPLACEABLE = ("alreadyReplaced", "notFound", "unauthorized", "malformed")


def make(session: Session, request: Order, patience: Patience, order: OrderObject) -> Steps[str]:
    """Ask for a new order and return its URL; ``order`` learns what it holds.

    Where nobody knows whether there is one by now, the account's orders are looked through
    before it is asked for again (servers without a list answer with the same order); if it isn't,
    ``patience`` has it, and the next run does that.  Raises Error.
    """
    payload = _payload(session, request)
    target = session.directory.new_order
    tries = 0
    while True:
        yield from patience.admit(True)
        try:
            response = patience.timed(lambda: session.post(target, payload, "newOrder"), True)
        except (ProblemError, CutOff, NoAnswer) as exc:
            patience.asked = not isinstance(exc, ProblemError) or not exc.problem.type
            unsure = not isinstance(exc, ProblemError) or exc.doubtful
            if "replaces" in payload and _is_not_replaceable(exc):
                del payload["replaces"]
                log.debug(f"{request.section}: newOrder again without “replaces”: {exc}")
                if not unsure:
                    continue
            elif "profile" in payload and is_refused(exc):
                session.profiles.refused(request, exc)
                del payload["profile"]
                continue
            elif not isinstance(exc, NoAnswer):
                yield patience.pause(exc, tries)
            elif tries:
                raise
            tries += 1
            if unsure:
                url = yield from _find(session, request, patience, order)
                patience.asked = False
                if url is not None:
                    patience.found()
                    return url
        except ProtocolError:    # it has answered, and who knows what
            patience.asked = True
            raise
        else:
            patience.asked = True
            url = session.location(response, target, "newOrder")
            order.update(response)
            order.asked, patience.asked = payload.get("profile"), False
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
    for url in (yield from earlier.newest(session, patience, earlier.LOOKED_AT)):
        response = yield from earlier.look(session, url, patience)
        if response is not None and earlier.fits(session, request, response, order):
            return url
    return None
