"""Making an account (RFC 8555 §7.3), and tying it to a customer of the CA's (§7.3.4)."""

from ..common.errors import Error
from ..common.log import printable
from ..common.wire import inner
from ..common.wire.account import AccountUpdate
from ..common.wire.jsonfields import JsonObject
from .account import NoAccount, look_up
from .connection import Response
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session


def find_or_register(session: Session, request: AccountUpdate,
                     patience: Patience) -> Steps[tuple[Response, bool]]:
    """Return the response of newAccount and whether the account is new.

    Raises NoAccount, Error where something is missing that the CA wants, and others.
    """
    missing = _missing(session, request) if request.register else ""
    if not request.register or missing or request.eab_kid:
        # One that exists needs no agreement, and no binding: CAs' keys may be for one use only
        try:
            response = yield from patience.busy(lambda: look_up(session))
            return response, False
        except NoAccount as exc:
            if missing:
                raise Error(missing) from exc
            if not request.register:
                raise
    payload: JsonObject = {}
    contact = request.new_contact if request.contact is None else request.contact
    if contact or request.contact is not None:
        payload["contact"] = list(contact)
    if request.terms_agreed:
        payload["termsOfServiceAgreed"] = True
    if request.eab_kid:
        payload[inner.BINDING] = _binding(session, request)
    try:
        response = yield from patience.busy(lambda: session.post(
            session.directory.new_account, payload, "newAccount", with_jwk=True))
    except ProblemError as exc:
        raise _explained(exc, request) from exc
    return response, response.status == 201    # 200: it existed, and is as it was (§7.3.1)


def _missing(session: Session, request: AccountUpdate) -> str:
    """Return what the CA wants of who registers and isn't there, "" if nothing."""
    directory = session.directory
    terms = directory.terms_of_service
    if terms is not None and not request.terms_agreed:
        return (f"the CA wants its terms of service agreed to: read {printable(terms, 500)} "
                "and add --tos-agreed")
    if directory.external_account_required and not request.eab_kid:
        return _wanted(request)
    return ""


def _wanted(request: AccountUpdate) -> str:
    return ("this CA ties accounts to those of its customers (RFC 8555 §7.3.4): set “eab-kid” of "
            f"{request.where} to the key identifier that it gave you, and put the MAC key into "
            "[eab KID] of accountd.conf")


def _binding(session: Session, request: AccountUpdate) -> JsonObject:
    """Have the signer make the JWS that ties its key to the external account (§7.3.4)."""
    signer = session.require_signer("newAccount")
    kid, own = request.eab_kid, signer.greeting
    alg = dict(own.bindings).get(kid)
    if alg is None:
        raise Error(f"“eab-kid” of {request.where}: the account key manager has no section "
                    f"[eab {kid}] in its accountd.conf (running ones must be started again)")
    line = inner.binding(kid, alg, session.directory.new_account, own.jwk)
    return inner.flattened(line, signer.sign_input(line))


def _explained(error: ProblemError, request: AccountUpdate) -> ProblemError:
    """Say which setting it is about, if it is about the binding."""
    if error.problem.type == "externalAccountRequired" and not request.eab_kid:
        return error.with_words(f"; {_wanted(request)}")
    if request.eab_kid and error.verdict and error.problem.type != "badNonce":
        return error.with_words(f" (is “eab-kid” of {request.where} right, and “key” of "
                                f"[eab {request.eab_kid}] in accountd.conf?)")
    return error
