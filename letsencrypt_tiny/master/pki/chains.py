"""Which chain is wanted, of those that a CA offers: the default, its alternates (RFC 8555 §7.4.2),
and the ways through intermediates that several CAs have signed.

A chain is the certificate, then those of the others that came which certify the one before, and no
other (RFC 8446 §4.4.2): servers send some twice, in another order, or with strangers between them.
By names and key identifiers only: signatures are for openssl to verify.
"""

from collections.abc import Iterator, Sequence
from itertools import islice

from ...common import log
from ...common.x509 import fields
from ...common.x509.certificate import Certificate, parse_chain
from ...common.x509.der import MAX_PEM, SEQUENCE, X509Error, only

MAX_CERTIFICATES = 10    # in a chain
MAX_WAYS = 8             # through one of them
MAX_CANDIDATES = 16
_SHOWN = 12              # names of issuers
# Between a chain and its alternates where they are kept: no line of PEM
_SEPARATOR = "# an alternate of the same certificate\n"

Chain = list[Certificate]


def ways(certificates: Sequence[Certificate], leaf: Certificate) -> Iterator[Chain]:
    """Yield the chains that can be made of ``certificates``, the one that the server means first.

    Where several certify the same key (cross-signs), they come in the server's order; but a root
    is the last choice, for others trust it or don't need it.
    """
    return _ways([item for item in dict.fromkeys(certificates) if item != leaf], [leaf])


def _ways(others: Chain, chain: Chain) -> Iterator[Chain]:
    above = [] if chain[-1].issuer == chain[-1].subject else [
        item for item in others if item not in chain and _certifies(item, chain[-1])]
    if not above:
        yield chain
    for item in sorted(above, key=lambda item: item.issuer == item.subject):
        yield from _ways(others, [*chain, item])


def _certifies(issuer: Certificate, certificate: Certificate) -> bool:
    """True if an issuer says that it is the one that a certificate names."""
    if not issuer.is_ca and issuer.extensions:    # version 1 has no way to say it
        return False
    if issuer.ski is not None and certificate.aki is not None:
        # A name may be spelled in several ways (RFC 5280 §7.1)
        return issuer.ski == certificate.aki
    return issuer.subject == certificate.issuer


def candidates(default: Sequence[Certificate], alternates: Sequence[str], leaf: Certificate,
               preferred: str) -> list[Chain]:
    """Return the chains to try, the best first: those that ``preferred`` names, then the default.

    ``alternates``, in PEM, are looked at if there is a preference; those that are malformed or
    for another certificate are left out.
    """
    found = list(islice(ways(default, leaf), MAX_WAYS))
    if preferred:
        for text in alternates:
            try:
                chain = parse_chain(text.encode("utf-8", "replace"), MAX_CERTIFICATES)
            except X509Error as exc:
                log.debug(f"an alternate chain is malformed: {exc}")
                continue
            if leaf in chain:
                found += [way for way in islice(ways(chain, leaf), MAX_WAYS) if way not in found]
        found.sort(key=lambda chain: _rank(chain, preferred))
    return found[:MAX_CANDIDATES]


def _rank(chain: Chain, preferred: str) -> int:
    """Where a chain ends says more than what is in it, should both be named so."""
    if _is_named(chain[-1], preferred):
        return 0
    return 1 if names(chain, preferred) else 2


def names(chain: Sequence[Certificate], preferred: str) -> bool:
    """Say whether the issuer of any certificate of a chain is called so (its CN)."""
    return any(_is_named(item, preferred) for item in chain)


def _is_named(certificate: Certificate, name: str) -> bool:
    # as RFC 5280 §7.1 compares
    wanted = name.casefold().split()
    return any(found.casefold().split() == wanted for found in issuer_names(certificate))


def issuer_names(certificate: Certificate) -> tuple[str, ...]:
    """Return the common names of the issuer; none if they can't be read."""
    try:
        return fields.subject(only(SEQUENCE, certificate.issuer, "issuer"))[0]
    except X509Error:
        return ()


def offered(chains: Sequence[Chain]) -> str:
    """Return the issuers' names of all these chains, each once, for the administrator."""
    found = list(dict.fromkeys(name for chain in chains for item in chain
                               for name in issuer_names(item)))
    shown = [f"“{log.printable(name, 100)}”" for name in found[:_SHOWN]]
    return ", ".join(shown) + (" and more" if len(found) > _SHOWN else "") or "no name"


def pack(default: str, alternates: Sequence[str]) -> str:
    """Return one text of a chain and as many of its alternates, in PEM, as can be read again."""
    kept = default
    for text in alternates:
        more = f"{kept.rstrip()}\n{_SEPARATOR}{text}"
        if len(more) <= MAX_PEM:
            kept = more
    return kept


def unpack(text: str) -> tuple[str, tuple[str, ...]]:
    """Return what ``pack`` was given."""
    default, *alternates = text.split(_SEPARATOR)
    return default, tuple(alternates)
