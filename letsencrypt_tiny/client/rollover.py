"""Key change (RFC 8555 §7.3.5), and which of the signer's two keys the account has.

The signer keeps both until the next one has taken the account key's place.  Whether the CA has
heeded a change is found by asking it, however the request for it ended: an account looked up by
its new key is proof, and nothing else is.
"""

from collections.abc import Callable

from ..common.errors import Error, ProtocolError
from ..common.wire import inner
from ..common.wire.account import AccountObject, AccountUpdate
from ..common.wire.order import Account, Answer
from .account import NoAccount, look_up
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session

_KEPT = "the account keeps its key"


def perform(session: Session, request: AccountUpdate, patience: Patience,
            answer: Callable[[Answer], None]) -> Steps[AccountObject]:
    """Find the key of the signer's that the account has; for a rollover let that be the next one.

    It is told to the master, and signs what follows.  Without an account there is nothing to
    change: its URL is "" then.  Raises Error if the CA refuses the change.
    """
    greeting = session.greeting
    if greeting.next is None:
        raise Error("the account key manager has no next key" + (
            ", for “keyid” is set in its accountd.conf: take it out for as long as the key "
            "changes" if greeting.kid else ""))
    try:
        found = yield from _find(session, patience, answer)
    except NoAccount:
        return AccountObject("", {}, session.directory.terms_of_service)
    if request.rollover and not session.require_signer("keyChange").by_next:
        url = found.url
        yield from _change(session, url, patience)
        found = yield from _find(session, patience, answer)
        if not session.require_signer("keyChange").by_next:
            raise Error("keyChange: the CA agreed, but knows the account by its old key only; "
                        f"{_KEPT}")
        if found.url != url:
            raise ProtocolError("keyChange: the next key has another account than the old one")
    return found


def _find(session: Session, patience: Patience, answer: Callable[[Answer], None]
          ) -> Steps[AccountObject]:
    """Look the account up by either key, first the next one's."""
    signer = session.require_signer("the account")
    for by_next in (True, False):
        signer.follow(by_next)
        key = signer.greeting.thumbprint
        try:
            response = yield from patience.busy(lambda: look_up(session))
        except (NoAccount, ProblemError) as exc:
            if isinstance(exc, ProblemError) and not (by_next and exc.verdict):
                raise
            answer(Account("", key))
            if not by_next:
                raise
        else:
            break
    session.kid = session.location(response, session.directory.new_account, "newAccount")
    session.find_kid = None
    answer(Account(session.kid, key))
    account = session.json(response, "newAccount") if response.body.strip() else {}
    return AccountObject(session.kid, account, session.directory.terms_of_service)


def _change(session: Session, account: str, patience: Patience) -> Steps[None]:
    """Ask the CA to put the next key in the place of the account's; it has agreed, or may have.

    Raises Error if it has not.
    """
    signer = session.require_signer("keyChange")
    own = signer.greeting
    if session.directory.key_change is None:
        raise Error(f"the CA at {session.directory_url} offers no key change; {_KEPT}")
    if own.next is None:
        raise Error("the account key manager has no next key")
    url = session.check_url(session.directory.key_change, "“keyChange”")
    line = inner.key_change(own.next.alg, own.next.jwk, url, account, own.jwk)
    jws = inner.flattened(line, signer.sign_input(line, by_next=True))
    try:
        yield from patience.busy(lambda: session.post(url, jws, "keyChange"))
    except ProblemError as exc:
        refusal = exc
    else:
        return
    # A second try, after the first one's answer was lost, is refused to the old key
    signer.follow(True)
    try:
        yield from patience.busy(lambda: look_up(session))
    except (NoAccount, ProblemError) as exc:
        signer.follow(False)
        raise refusal.with_words(_why(refusal)) from exc


def _why(refusal: ProblemError) -> str:
    """Say what to do about a refusal."""
    if not refusal.verdict:
        return f"; {_KEPT}"
    return (f"; {_KEPT} (for a key of another kind remove the next one, which is beside "
            "“privkey” of accountd.conf, and make it with letsencrypt-tiny-accountd --next "
            "--genkey=KIND)")
