"""What a signer may sign, for whom and how often: a policy, and its way from master to signer.

accountd.conf has policies too, in its [policy NAME] sections; what they mean stands in
signer/policy.py.  Pure functions: no I/O here.
"""

import hashlib
from typing import NamedTuple

from .. import urls
from ..errors import LocalProtocolError, ProtocolError
from .jsonfields import dump, get_int, get_str, get_strs, parse_object

MAX_POLICY = 64 << 20   # bytes; 10,000 sections of 100 names are a third of it
MAX_PER_HOUR = 100_000
_MAX_ITEMS = 2_000_000

# What can be asked of an ACME server (RFC 8555 §7), by the payload of the request
OPERATIONS = ("read", "respond", "new-order", "finalize", "lookup", "register",
              "external-account-binding", "account-update", "deactivate", "revoke", "key-change")
# What orders need, and so the default
ORDERING = OPERATIONS[:5]
# … and what is needed to prove that names are ours, without a certificate
AUTHORIZING = OPERATIONS[:3]
# Revocation signed as the certificate's own key (§7.6), by a signer that was lent it for that.
# No administrator's policy has it: theirs are for account keys, which no certificate is for.
BY_CERTIFICATE_KEY = "revoke-by-certificate-key"
# How URLs may be spelled
URLS = ("canonical", "any")


class Policy(NamedTuple):
    """What the signer may sign.  Everything else it refuses."""

    name: str
    origins: frozenset[str]                 # https://HOST[:PORT] as ``origin_of`` returns them
    operations: frozenset[str]              # of OPERATIONS, and BY_CERTIFICATE_KEY
    identifiers: frozenset[str] = frozenset()   # names, .SUFFIXES, addresses; "*" is any
    profiles: frozenset[str] = frozenset()      # draft-ietf-acme-profiles; "*" is any
    per_hour: int = 0                       # requests; 0 is no limit
    only: frozenset[str] | None = None      # ``digest`` of each CSR and certificate; None: any
    urls: str = URLS[0]                     # of URLS


def origin_of(url: str) -> str:
    """Return the origin of an https URL in its canonical form; raises ProtocolError."""
    try:
        return urls.parse(url).origin
    except ValueError as exc:
        raise ProtocolError(f"“{url}” has no https origin: {exc}") from exc


def digest(der: bytes) -> str:
    """Return what a CSR or certificate is called in ``Policy.only``: its SHA-256 in hex."""
    return hashlib.sha256(der).hexdigest()


def format_policy(policy: Policy) -> bytes:
    """Return the JSON object for the descriptor that the signer reads it from.

    Raises LocalProtocolError.
    """
    text = dump({
        "name": policy.name, "origins": sorted(policy.origins),
        "operations": sorted(policy.operations), "identifiers": sorted(policy.identifiers),
        "profiles": sorted(policy.profiles), "per_hour": policy.per_hour,
        "only": None if policy.only is None else sorted(policy.only), "urls": policy.urls})
    if len(text) > MAX_POLICY:
        raise LocalProtocolError(f"a policy of more than {MAX_POLICY} bytes")
    return text


def parse_policy(text: bytes) -> Policy:
    """Parse what ``format_policy`` wrote; raises ProtocolError."""
    obj = parse_object(text, "the policy", MAX_POLICY)
    if set(obj) != set(Policy._fields):    # one that limits in a way we don't know
        raise ProtocolError("the policy has other members than those of this version")

    if obj["urls"] not in URLS:
        raise ProtocolError("the policy has an unknown rule for URLs")

    def strings(key: str) -> frozenset[str]:
        return frozenset(get_strs(obj, key, _MAX_ITEMS))

    return Policy(get_str(obj, "name", 64), strings("origins"), strings("operations"),
                  strings("identifiers"), strings("profiles"),
                  get_int(obj, "per_hour", 0, MAX_PER_HOUR),
                  None if obj["only"] is None else strings("only"), obj["urls"])
