"""What is asked for of the account (RFC 8555 §7.3): look up, make, change, give up; its orders."""

from collections.abc import Callable

from ..common.errors import ProtocolError
from ..common.log import printable
from ..common.wire.account import AccountObject, AccountUpdate
from ..common.wire.jsonfields import JsonObject, get_optional_str
from ..common.wire.order import Account, Answer
from .account import NoAccount
from . import orderlist, registration, rollover
from .connection import Response
from .patience import Patience
from .scheduler import Steps
from .session import Session


def update(session: Session, request: AccountUpdate, patience: Patience,
           answer: Callable[[Answer], None]) -> Steps[AccountObject]:
    """Look up, register, update or deactivate the account; return it as the server has it.

    Raises NoAccount if it doesn't exist and isn't to be registered, and other Errors.
    """
    if request.find_key or request.rollover:
        return (yield from rollover.perform(session, request, patience, answer))
    if request.find_terms:
        return (yield from _find(session, request, patience, answer))
    return (yield from _update(session, request, patience, answer))


def _update(session: Session, request: AccountUpdate, patience: Patience,
            answer: Callable[[Answer], None]) -> Steps[AccountObject]:
    registered = False
    greeting = session.greeting
    kid = greeting.kid
    if kid is None:
        response, registered = yield from registration.find_or_register(session, request, patience)
        kid = session.location(response, session.directory.new_account, "newAccount")
        account: JsonObject | None = _object(session, response)
    else:
        session.check_url(kid, "the account key manager's keyid")
        account = None
    session.kid = kid
    session.find_kid = None
    change: JsonObject = {}
    if request.contact is not None and not registered:
        change["contact"] = list(request.contact)          # §7.3.2, which takes no other update
    if request.deactivate:
        change = {"status": "deactivated"}                 # §7.3.6
    url = kid
    if change or account is None or not account.get("status"):
        response = yield from patience.busy(
            lambda: session.post(url, change or None, "the account"))
        account = session.json(response, "the account")
    # The server that made it, and says no more, has it
    status = get_optional_str(account, "status") or "valid"
    if status not in ("valid", "deactivated", "revoked"):    # §7.1.2
        raise ProtocolError(f"the account is of the unknown status “{printable(status, 100)}”")
    answer(Account(url if status == "valid" else "", greeting.thumbprint))
    if request.orders:
        yield from orderlist.tell(session, account, patience, answer)
    return AccountObject(url, account, session.directory.terms_of_service)


def _find(session: Session, request: AccountUpdate, patience: Patience,
          answer: Callable[[Answer], None]) -> Steps[AccountObject]:
    """The same where an account that there isn't is no failure: it has no URL, but terms."""
    try:
        return (yield from _update(session, request, patience, answer))
    except NoAccount:
        answer(Account("", session.greeting.thumbprint))
        return AccountObject("", {}, session.directory.terms_of_service)


def _object(session: Session, response: Response) -> JsonObject | None:
    """The account in a response of newAccount; None if the server sent only its URL."""
    return session.json(response, "newAccount") if response.body.strip() else None
