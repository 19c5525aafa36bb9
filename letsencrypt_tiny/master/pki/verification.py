"""What came back, checked before it is installed: nothing is believed of the client's.

Public key, names, dates, and the chain to CAfile.  Exit status 0 of a child proves nothing.  Of
the chains that can be made of what came (``chains``) the first that is good is taken.
"""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...common import log
from ...common.clock import when
from ...common.errors import Error
from ...common.names import Identifier
from ...common.x509.certificate import Certificate, parse_chain
from ...common.x509.der import X509Error, encode_pem
from . import chains, openssl
from .chains import MAX_CERTIFICATES, Chain

CLOCK_SKEW = 3600        # seconds that the CA's clock may be ahead of ours

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
    alternates: Sequence[str] = ()         # more chains of the same certificate
    preferred: str = ""                    # the issuer that the chain wanted has; "": the default


def verify(command: str, arrived: Sequence[Arrived]) -> list[Chain | Error]:
    """Return each chain, or what is wrong with it: NotNow, unless it is wrong for good.

    The openssl ``command``, which has to read CAfile, runs once for all that share that and
    their intermediates.
    """
    now = int(time.time())
    results: list[Chain | Error] = []
    left: dict[int, list[Chain]] = {}
    for index, one in enumerate(arrived):
        try:
            found = _parse(one, now)
        except Error as exc:
            results.append(exc)
            continue
        results.append(found[0])
        if one.ca_file:
            left[index] = found
    first: dict[int, Error] = {}    # what was wrong with the chain that was tried first
    while left:
        for index, problem in _tried(command, arrived, left, now):
            chain, *others = left.pop(index)
            if problem is None:
                results[index] = chain
                continue
            why = first.setdefault(index, _unchained(chain[0], arrived[index].ca_file, problem))
            results[index] = why
            if others and isinstance(problem, openssl.Unverified) and isinstance(why, NotNow):
                left[index] = others
    return results


def _tried(command: str, arrived: Sequence[Arrived], left: dict[int, list[Chain]],
           now: int) -> Iterator[tuple[int, Error | None]]:
    """Try the first of each of the chains that are ``left``; yield what is wrong with it."""
    groups: dict[tuple[str, bytes, int | None], list[int]] = {}
    for index, (chain, *_) in left.items():
        intermediates = b"".join(encode_pem(item.der) for item in chain[1:])
        groups.setdefault((arrived[index].ca_file, intermediates, _moment(chain, now)),
                          []).append(index)
    for (ca_file, intermediates, at), members in groups.items():
        leaves = [encode_pem(left[index][0][0].der) for index in members]
        yield from zip(members, openssl.verify_each(command, leaves, intermediates, ca_file, at))


def _moment(chain: Chain, now: int) -> int | None:
    """When all of a chain is valid, if that is soon: the CA's clock may be ahead of ours."""
    begin = max((item.not_before for item in chain if item.not_before <= now + CLOCK_SKEW),
                default=now)
    return begin if begin > now else None


def _unchained(leaf: Certificate, ca_file: str, problem: Error) -> Error:
    if not isinstance(problem, openssl.Unverified):
        return NotNow(f"it can't be verified with {ca_file} ({problem})", leaf)
    message = f"it does not chain to {ca_file} ({problem})"
    if problem.depth == 0 and problem.number in _FOR_GOOD:
        return Error(message)
    return NotNow(message, leaf)


def offered(one: Arrived) -> list[Chain]:
    """Return all the chains that can be made of what came and was verified."""
    chain = parse_chain(one.pem.encode("utf-8", "replace"), MAX_CERTIFICATES)
    leaf = next(item for item in chain if item.spki == one.spki)
    return chains.candidates(chain, one.alternates, leaf, one.preferred)


def _parse(one: Arrived, now: int) -> list[Chain]:
    """Return the chains that can be made of what came, the best first, all being checked but
    signatures; raises Error with the reason."""
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
    found = chains.candidates(chain, one.alternates, leaf, one.preferred)
    if len(found[0]) == 1 < len(set(chain)) and not one.ca_file and leaf.issuer != leaf.subject:
        raise NotNow("none of the certificates that came with it certifies it", leaf)
    if len(found[0]) < len(chain):
        log.debug(f"{len(chain) - len(found[0])} of {len(chain)} certificates are left out of the "
                  "chain: they certify none of the others, or came twice")
    return found
