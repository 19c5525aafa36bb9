"""Accounts (RFC 8555 §7.3): the URL that the signer's key has at this server, and its object.

Registration has a room of its own (``registration``), and so has a key change (``rollover``).
"""

from collections.abc import Callable

from ..common.errors import Error, ProtocolError
from ..common.wire.account import AccountObject, AccountUpdate
from ..common.wire.jsonfields import JsonObject, get_optional_str
from ..common.log import debug, printable
from ..common.wire.order import Account, Answer, ClientConfig
from .connection import Response
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session


class NoAccount(Error):
    """The signer's key has no account at this server."""


def look_up(session: Session) -> Response:
    """Ask for the account of the key, without making one (§7.3.1).

    The account's URL is the Location of the response.  Raises NoAccount.
    """
    try:
        return session.post(session.directory.new_account, {"onlyReturnExisting": True},
                            "newAccount", with_jwk=True)
    except ProblemError as exc:
        if exc.problem.type != "accountDoesNotExist":
            raise
        raise NoAccount(f"the account key has no account at {session.directory_url}: run "
                        "“letsencrypt-tiny account --register --tos-agreed” first") from exc


def identify(session: Session, config: ClientConfig, patience: Patience,
             answer: Callable[[Answer], None]) -> Steps[None]:
    """Set the session's kid (§6.2): the signer's own, one remembered, or looked up.

    What is looked up is told to the master, which remembers it; a remembered one that the
    server doesn't take for this key's is looked up again.  Raises NoAccount and other Errors.
    """
    key, kid = session.greeting.thumbprint, session.greeting.kid
    remembered = config.account_url if config.account_key == key else ""
    if kid is not None:
        session.kid = kid
        return

    def find() -> str:
        try:
            url = session.location(look_up(session), session.directory.new_account,
                                   "newAccount")
        except NoAccount:
            if remembered:
                answer(Account("", key))
            raise
        answer(Account(url, key))
        return url

    if remembered:
        try:
            session.kid = session.check_url(remembered, "the remembered account")
            session.find_kid = find
            return
        except ProtocolError as exc:    # what a client gone wrong made the master remember
            debug(exc)
    session.kid = yield from patience.busy(find)


def update(session: Session, request: AccountUpdate, patience: Patience,
           answer: Callable[[Answer], None]) -> Steps[AccountObject]:
    """Look up, register, update or deactivate the account; return it as the server has it.

    Raises NoAccount if it doesn't exist and isn't to be registered, and other Errors.
    """
    if request.find_key or request.rollover:
        from . import rollover
        return (yield from rollover.perform(session, request, patience, answer))
    registered = False
    greeting = session.greeting
    kid = greeting.kid
    if kid is None:
        from . import registration
        response, registered = yield from registration.find_or_register(session, request, patience)
        kid = session.location(response, session.directory.new_account, "newAccount")
        account: JsonObject | None = _object(session, response)
    else:
        session.check_url(kid, "the signer's keyid")
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
        from . import orderlist
        yield from orderlist.tell(session, account, patience, answer)
    return AccountObject(url, account, session.directory.terms_of_service)


def _object(session: Session, response: Response) -> JsonObject | None:
    """The account in a response of newAccount; None if the server sent only its URL."""
    return session.json(response, "newAccount") if response.body.strip() else None
