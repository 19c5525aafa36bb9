"""What came back, checked before it is installed: nothing is believed of the client's.

Public key, names, dates, and the chain to CAfile.  Exit status 0 of a child proves nothing.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from ...common import log
from ...common.x509.certificate import Certificate, parse_chain
from ...common.x509.der import X509Error, encode_pem
from ...common.errors import Error
from ...common.names import Identifier
from . import openssl
from ..plan import renewal

CLOCK_SKEW = 3600        # seconds that the CA's clock may be ahead of ours
MAX_CERTIFICATES = 10    # in a chain

Chain = list[Certificate]


class Arrived(NamedTuple):
    """A chain as the client delivered it, and what it must be for."""

    pem: str
    spki: bytes                            # of the request: SubjectPublicKeyInfo, DER
    identifiers: Sequence[Identifier]
    ca_file: str                           # where the chain must end; "": anywhere


def verify(command: str, arrived: Sequence[Arrived]) -> list[Chain | Error]:
    """Return each chain, or what is wrong with it.

    The openssl ``command``, which has to read CAfile, runs once for all that share that and
    their intermediates.
    """
    results: list[Chain | Error] = []
    groups: dict[tuple[str, bytes], list[int]] = {}
    for index, one in enumerate(arrived):
        try:
            chain = _parse(one)
        except Error as exc:
            results.append(exc)
            continue
        results.append(chain)
        if one.ca_file:
            intermediates = b"".join(encode_pem(item.der) for item in chain[1:])
            groups.setdefault((one.ca_file, intermediates), []).append(index)
    for (ca_file, intermediates), members in groups.items():
        leaves = [encode_pem(chain[0].der) for chain in
                  (results[index] for index in members) if not isinstance(chain, Error)]
        verdicts = openssl.verify_each(command, leaves, intermediates, ca_file)
        for index, problem in zip(members, verdicts):
            if problem is not None:
                results[index] = Error(f"it does not chain to {ca_file} ({problem})")
    return results


def _parse(one: Arrived) -> Chain:
    """Parse a chain and check all but its signatures; raises Error with the reason."""
    try:
        chain = parse_chain(one.pem.encode("utf-8", "replace"), MAX_CERTIFICATES)
    except X509Error as exc:
        raise Error(f"it is malformed ({exc})") from exc
    leaf = chain[0]
    now = time.time()
    if leaf.spki != one.spki:
        raise Error("it is for another key than that of the request")
    if set(leaf.names) != set(one.identifiers):
        raise Error("it is for other names: " +
                    ", ".join(log.printable(value, 100) for _, value in leaf.names[:10]))
    if leaf.not_before > now + CLOCK_SKEW:
        raise Error(f"it is not valid before {renewal.when(leaf.not_before)} (is the clock right?)")
    if leaf.not_after <= now:
        raise Error(f"it expired {renewal.when(leaf.not_after)} (is the clock right?)")
    return chain
