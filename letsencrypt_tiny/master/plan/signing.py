"""What the signer may sign for the task at hand, and nothing else."""

from collections.abc import Iterator, Sequence

from ...common.wire import jose
from ...common.wire.access import Access
from ...common.wire.account import AccountUpdate
from ...common.wire.order import Order, Request, Revocation
from ...common.wire.jsonfields import JsonObject
from ...common.wire.policy import (AUTHORIZING, BY_CERTIFICATE_KEY, ORDERING, Policy, digest,
                                   origin_of)
from ...common.wire.signer import Greeting
from ...common.x509.certificate import parse_certificate
from ...common.x509.csr import CSR


def derive(access: Access, requests: Sequence[Request], name: str = "") -> Policy:
    """Return the policy that allows what ``requests`` to a CA need, and nothing else.

    It is called after the CA, ``name``: whoever signs for several has a policy for each.

    Of CSRs and certificates those in ``requests`` alone: a client that has gone over to somebody
    else gets no certificate for a key of its own, not even for the configured names.  How the
    CA spells its URLs is then its own business, as long as they are of its origins.
    """
    operations: set[str] = set()
    names: set[str] = set()
    profiles: set[str] = set()
    only: set[str] = set()
    for request in requests:
        if isinstance(request, Order):
            operations.update(ORDERING)
            names.update(value for _, value in request.identifiers)
            profiles.update([request.profile] if request.profile else [])
            only.add(digest(request.csr))
        elif isinstance(request, AccountUpdate):
            operations.update(_of_account(request))
        elif isinstance(request, Revocation):
            operations.update(("revoke", BY_CERTIFICATE_KEY if request.with_certificate_key
                               else "lookup"))
            operations.update(AUTHORIZING if request.challenges else ())
            names.update(value for _, value
                         in parse_certificate(request.certificate).names)
            only.add(digest(request.certificate))
    return Policy(f"auto:{name}"[:64] if name else "auto",
                  frozenset([origin_of(access.server), *access.origins]),
                  frozenset(operations), frozenset(names), frozenset(profiles), 0,
                  frozenset(only), "any")


def _of_account(request: AccountUpdate) -> Iterator[str]:
    yield from ("lookup", "read")
    if request.register:
        yield "external-account-binding" if request.eab_kid else "register"
    for operation, wanted in (("key-change", request.rollover),
                              ("account-update", request.contact is not None),
                              ("deactivate", request.deactivate)):
        if wanted:
            yield operation


def kind_of(jwk: JsonObject) -> str:
    """Return what --genkey calls a key of the kind of ``jwk``, as strong at the least."""
    if jwk.get("kty") == "EC":
        return f"ec:{jwk['crv']}"
    bits = 8 * len(jose.decode(str(jwk.get("n", "")).encode("ascii", "replace")))
    return f"rsa:{next((size for size in (2048, 3072) if bits <= size), 4096)}"


def is_account_key(greeting: Greeting, csr: CSR) -> bool:
    """True if a CSR is for the account's key, which no CA certifies (RFC 8555 §11.1).

    Not known where the signer withholds its public key.
    """
    number = greeting.jwk.get("n") or greeting.jwk.get("x")
    # However the key is encoded, this number is in it
    return isinstance(number, str) and jose.decode(number.encode("ascii", "replace")) in csr.spki
