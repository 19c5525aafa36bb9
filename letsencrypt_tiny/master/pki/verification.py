"""What came back, checked before it is installed: nothing is believed of the client's.

Public key, names, dates, and the chain to CAfile.  Exit status 0 of a child proves nothing.

What is installed is the certificate, then those of the others that came which certify the one
before, and no other (RFC 8555 §7.4.2, RFC 8446 §4.4.2): servers send some twice, in another order,
or with strangers between them.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import when
from ...common.errors import Error
from ...common.names import Identifier
from ...common.x509.certificate import Certificate, parse_chain
from ...common.x509.der import X509Error, encode_pem
from . import openssl

CLOCK_SKEW = 3600        # seconds that the CA's clock may be ahead of ours
MAX_CERTIFICATES = 10    # in a chain

Chain = list[Certificate]

# Verdicts on the certificate itself that no other CAfile and no other moment would change:
# not for a TLS server, a critical extension that nobody knows (X509_V_ERR_… of openssl)
_FOR_GOOD = (26, 34)


class NotNow(Error):
    """A certificate can't be used for a reason that may pass, and be ours: it is to be kept."""

    def __init__(self, message: str, leaf: Certificate) -> None:
        super().__init__(message)
        self.leaf = leaf


class Arrived(NamedTuple):
    """A chain as the client delivered it, and what it must be for."""

    pem: str
    spki: bytes                            # of the request: SubjectPublicKeyInfo, DER
    identifiers: Sequence[Identifier]
    ca_file: str                           # where the chain must end; "": anywhere


def verify(command: str, arrived: Sequence[Arrived]) -> list[Chain | Error]:
    """Return each chain, or what is wrong with it: NotNow, unless it is wrong for good.

    The openssl ``command``, which has to read CAfile, runs once for all that share that and
    their intermediates.
    """
    now = int(time.time())
    results: list[Chain | Error] = []
    groups: dict[tuple[str, bytes, int | None], list[int]] = {}
    for index, one in enumerate(arrived):
        try:
            chain = _parse(one, now)
        except Error as exc:
            results.append(exc)
            continue
        results.append(chain)
        if one.ca_file:
            intermediates = b"".join(encode_pem(item.der) for item in chain[1:])
            groups.setdefault((one.ca_file, intermediates, _moment(chain, now)), []).append(index)
    for (ca_file, intermediates, at), members in groups.items():
        leaves = [chain[0] for chain in
                  (results[index] for index in members) if not isinstance(chain, Error)]
        verdicts = openssl.verify_each(command, [encode_pem(leaf.der) for leaf in leaves],
                                       intermediates, ca_file, at)
        for index, leaf, problem in zip(members, leaves, verdicts):
            if problem is not None:
                results[index] = _unchained(leaf, ca_file, problem)
    return results


def ordered(certificates: Sequence[Certificate], leaf: Certificate) -> Chain:
    """Return ``leaf`` and those of the others that certify it, each the one before.

    By names and key identifiers (RFC 5280 §4.2.1.1): signatures are for openssl to verify.  Of
    several for the same key a root is the last choice, for others trust it or don't need it.
    """
    chain = [leaf]
    others = [item for item in dict.fromkeys(certificates) if item != leaf]
    while chain[-1].issuer != chain[-1].subject:
        above = [item for item in others if _certifies(item, chain[-1])]
        if not above:
            break
        chain.append(min(above, key=lambda item: item.issuer == item.subject))
        others.remove(chain[-1])
    return chain


def _certifies(issuer: Certificate, certificate: Certificate) -> bool:
    """True if an issuer says that it is the one that a certificate names."""
    if not issuer.is_ca and issuer.extensions:    # version 1 has no way to say it
        return False
    if issuer.ski is not None and certificate.aki is not None:
        # A name may be spelled in several ways (§7.1)
        return issuer.ski == certificate.aki
    return issuer.subject == certificate.issuer


def _moment(chain: Chain, now: int) -> int | None:
    """When all of a chain is valid, if that is soon: the CA's clock may be ahead of ours."""
    begin = max((item.not_before for item in chain if item.not_before <= now + CLOCK_SKEW),
                default=now)
    return begin if begin > now else None


def _unchained(leaf: Certificate, ca_file: str, problem: Error) -> Error:
    message = f"it does not chain to {ca_file} ({problem})"
    if isinstance(problem, openssl.Unverified) and problem.depth == 0 \
            and problem.number in _FOR_GOOD:
        return Error(message)
    return NotNow(message, leaf)


def _parse(one: Arrived, now: int) -> Chain:
    """Put a chain in order, and check all but its signatures; raises Error with the reason."""
    try:
        chain = parse_chain(one.pem.encode("utf-8", "replace"), MAX_CERTIFICATES)
    except X509Error as exc:
        raise Error(f"it is malformed ({exc})") from exc
    leaf = next((item for item in chain if item.spki == one.spki), None)
    if leaf is None:
        raise Error("it is for another key than that of the request")
    if set(leaf.names) != set(one.identifiers):
        raise Error("it is for other names: " +
                    ", ".join(log.printable(value, 100) for _, value in leaf.names[:10]))
    if leaf.not_before > now + CLOCK_SKEW:
        raise NotNow(f"it is not valid before {when(leaf.not_before)} (is the clock right?)", leaf)
    if leaf.not_after <= now:
        raise NotNow(f"it expired {when(leaf.not_after)} (is the clock right?)", leaf)
    found = ordered(chain, leaf)
    if len(found) == 1 < len(set(chain)) and not one.ca_file and leaf.issuer != leaf.subject:
        raise NotNow("none of the certificates that came with it certifies it", leaf)
    if len(found) < len(chain):
        log.debug(f"{len(chain) - len(found)} of {len(chain)} certificates are left out of the "
                  "chain: they certify none of the others, or came twice")
    return found
