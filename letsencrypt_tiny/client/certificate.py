"""Certificates: download with alternate chains (RFC 8555 §7.4.2) and revocation (§7.6)."""

import re
from collections.abc import Callable

from ..common import log
from ..common.wire import jose
from ..common.errors import Error, ProtocolError
from ..common.wire.jsonfields import JsonObject
from ..common.wire.order import MAX_ALTERNATES, MAX_CHAIN, Answer, Log, Revocation, Revoked
from . import account, links
from .connection import Response
from .patience import Patience
from .problem import ProblemError
from .scheduler import Steps
from .session import Session
from .signer import Refused
from .transport import TransportError

PEM_CHAIN = "application/pem-certificate-chain"    # §9.1
_TEXT = re.compile(r"[\t\r\n -~]*\Z")


def download(session: Session, url: str, alternates: bool,
             patience: Patience) -> Steps[tuple[str, tuple[str, ...]]]:
    """Return the chain as PEM and, if wanted, its alternates (§7.4.2).

    Only size, media type and letters are checked: what it holds is the master's business.
    Raises Error.
    """
    response = yield from patience.busy(lambda: _get(session, url))
    chain = _chain(response)
    others: tuple[str, ...] = ()
    if alternates:
        others = yield from _alternates(session, url, response, patience)
    return chain, others


def _alternates(session: Session, url: str, response: Response,
                patience: Patience) -> Steps[tuple[str, ...]]:
    """Return the alternates that the ``response`` of ``url`` names.

    One that can't be had is left out, and said: the chain that is here is a good one.
    """
    found: dict[str, str] = {}
    for link in links.find(response.get_all("link"), "alternate"):
        try:
            other = session.resolve(link, url, "an alternate chain")
            if other in found or other == url:
                continue
            if len(found) == MAX_ALTERNATES:
                log.debug(f"{patience.section}: there are more than {MAX_ALTERNATES} alternates")
                break
            found[other] = ""
            found[other] = _chain((yield from patience.busy(_getting(session, other))))
        except (ProblemError, ProtocolError, TransportError) as exc:
            log.warning(f"{patience.section}: an alternate chain is left out: {exc}")
    return tuple(filter(None, found.values()))


def _getting(session: Session, url: str) -> Callable[[], Response]:
    return lambda: _get(session, url)


def _get(session: Session, url: str) -> Response:
    return session.post_as_get(url, "the certificate", accept=PEM_CHAIN, limit=MAX_CHAIN)


def _chain(response: Response) -> str:
    kind = (response.get("content-type") or "").split(";")[0].strip().lower()
    if kind != PEM_CHAIN:
        raise ProtocolError(f"the CA sent {log.printable(kind, 100) or 'no type'} instead of "
                            "a certificate chain")
    try:
        text = response.body.decode("ascii")
    except UnicodeDecodeError as exc:
        raise ProtocolError("the certificate chain is not PEM: it isn't ASCII") from exc
    if not _TEXT.match(text) or "-----BEGIN CERTIFICATE-----" not in text:
        raise ProtocolError("the CA sent a certificate chain that holds no certificate")
    return text


def revoke(session: Session, request: Revocation, identify: Steps[None],
           patience: Patience, answer: Callable[[Answer], None]) -> Steps[Revoked]:
    """Revoke a certificate (§7.6), with the account's key or the certificate's own.

    ``identify`` finds the account, and may have it authorized for the names; if the signer's key
    has none, it is taken for the certificate's.  Raises Error.
    """
    target = session.directory.revoke_cert or ""
    if not target:
        raise Error(f"{session.directory_url} does not revoke certificates (no revokeCert)")
    # Without a reason is “unspecified”, too, but some servers ask for one (django-ca)
    payload: JsonObject = {"certificate": jose.encode_text(request.certificate),
                           "reason": request.reason or 0}

    def send(with_jwk: bool) -> Steps[None]:
        yield from patience.busy(
            lambda: session.post(target, payload, "revokeCert", with_jwk=with_jwk))

    try:
        if request.with_certificate_key:
            yield from send(with_jwk=True)
        else:
            try:
                yield from identify
                yield from send(with_jwk=False)
            except account.NoAccount as exc:
                try:
                    yield from send(with_jwk=True)
                except Refused as refused:    # it knows better what its key is for
                    raise exc from refused
    except ProblemError as exc:
        if exc.problem.type != "alreadyRevoked":
            raise
        answer(Log("warning", f"{request.section}: the certificate was revoked before"))
    return Revoked(request.section)


def fit(chain: str, alternates: tuple[str, ...], limit: int) -> tuple[str, ...]:
    """Return the first of the alternates that make at most ``limit`` bytes with the chain."""
    kept: list[str] = []
    # A line end is two bytes in JSON.
    left = limit - len(chain) - chain.count("\n")
    for other in alternates:
        left -= len(other) + other.count("\n")
        if left < 0:
            break
        kept.append(other)
    return tuple(kept)
