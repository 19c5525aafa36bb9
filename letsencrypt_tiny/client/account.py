"""Accounts (RFC 8555 §7.3): the URL that the signer's key has at this server."""

from collections.abc import Callable

from ..common.errors import Error, ProtocolError
from ..common.log import debug
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
