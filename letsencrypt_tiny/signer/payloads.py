"""What the payloads of ACME requests hold, as far as a policy limits it.

One reader for each operation of policy.py.  Which members there are has been checked; a reader
looks at their values, and raises ProtocolError or X509Error unless they are what RFC 8555 says.
"""

import re
from typing import NamedTuple

from ..common.wire import jose
from ..common.x509.certificate import parse_certificate
from ..common.x509.csr import CSR, parse_csr
from ..common.errors import ProtocolError
from ..common.names import MAX_NAME, Identifier, is_dns
from ..common.wire.jsonfields import (JsonObject, get_int, get_object, get_objects, get_str,
                                      get_strs)
from ..common.wire.signer import MAX_REQUEST, Greeting

# What no host name can look like; whether it is an address is seen from the policy, which has
# them as RFC 5952 writes them
_IP = re.compile(r"(?:[0-9]+(?:\.[0-9]+){3}|[0-9a-f.]*:[0-9a-f:.]*)\Z")
_CERT_ID = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")   # RFC 9773 §4.1

_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_EXTENSIONS = frozenset(("2.5.29.17",    # subjectAltName
                         "2.5.29.15", "2.5.29.37",    # keyUsage, extendedKeyUsage
                         "2.5.29.19",    # basicConstraints
                         "2.5.29.14",    # subjectKeyIdentifier
                         "1.3.6.1.5.5.7.1.24"))    # tlsfeature (RFC 7633)

# What no CSR may ask for beside its names, unless it is pinned
_EMAIL_ADDRESS = "1.2.840.113549.1.9.1"   # in a subject it is one more name (RFC 5280 §4.1.2.6)
_PURPOSES = frozenset(("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"))   # serverAuth, clientAuth

Names = tuple[Identifier, ...]   # ("dns" | "ip", value); of certificates also "other"


class Asked(NamedTuple):
    """What a request asks for, as far as a policy limits it."""

    names: Names = ()
    profile: str | None = None
    document: bytes | None = None      # the CSR or certificate, DER
    more: str = ""                     # why only a policy that pins it allows this CSR


def nothing(payload: JsonObject, own: Greeting) -> Asked:
    return Asked()


def new_order(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 8555 §7.4, RFC 9773 §5, draft-ietf-acme-profiles."""
    names: list[Identifier] = []
    for item in get_objects(payload, "identifiers"):
        _exactly(item, "an identifier", "type", "value")
        kind, value = get_str(item, "type", 8), get_str(item, "value", MAX_NAME)
        if not (kind == "dns" and is_dns(value) or kind == "ip" and _IP.match(value)):
            raise ProtocolError("an identifier is neither a host name in lower case nor an address")
        names.append((kind, value))
    if not names:
        raise ProtocolError("an order without identifiers")
    if "replaces" in payload and not _CERT_ID.match(get_str(payload, "replaces")):
        raise ProtocolError("“replaces” is no certificate identifier")
    profile = get_str(payload, "profile", 64) if "profile" in payload else None
    return Asked(tuple(names), profile)


def finalize(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 8555 §7.4."""
    der = _document(payload, "csr")
    csr = parse_csr(der)
    if csr.attributes not in ((), (_EXTENSION_REQUEST,)):
        raise ProtocolError("the CSR has an unknown attribute")
    if not _EXTENSIONS.issuperset(csr.extensions):
        raise ProtocolError("the CSR asks for an unknown extension")
    if not csr.names:
        raise ProtocolError("the CSR has no subjectAltName")
    if not all(kind in ("dns", "ip") for kind, _ in csr.names):
        raise ProtocolError("the CSR has a name that is neither a host name nor an address")
    values = {value for _, value in csr.names}
    # lower() turns the Kelvin sign into a k
    if not all(name.isascii() and name.lower() in values for name in csr.common_names):
        raise ProtocolError("the CSR's common name is not in its subjectAltName")
    # However the key is encoded, this number is in it
    number = jose.decode(own.jwk["n" if own.jwk["kty"] == "RSA" else "x"].encode("ascii"))
    if number in csr.spki:
        raise ProtocolError("the CSR is for the account key")   # RFC 8555 §11.1
    return Asked(csr.names, document=der, more=_beside_names(csr))


def _beside_names(csr: CSR) -> str:
    if csr.is_ca:
        return "the CSR asks for a CA's rights: CA:TRUE, keyCertSign or cRLSign"
    if not _PURPOSES.issuperset(csr.purposes):
        return "the CSR asks for another purpose than serverAuth and clientAuth"
    if _EMAIL_ADDRESS in csr.subject_types:
        return "the CSR's subject has an emailAddress"
    return ""


def deactivate(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 8555 §7.3.6 and §7.5.2: an account or an authorization, which only the url tells."""
    if payload["status"] != "deactivated":
        raise ProtocolError("“status” is not “deactivated”")
    return Asked()


def account(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 8555 §7.3, §7.3.2, §7.3.4."""
    if "contact" in payload:
        get_strs(payload, "contact")
    if not isinstance(payload.get("termsOfServiceAgreed", False), bool):   # null neither
        raise ProtocolError("“termsOfServiceAgreed” is not true or false")
    if "externalAccountBinding" in payload:
        jws(get_object(payload, "externalAccountBinding"), own)
    return Asked()


def lookup(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 8555 §7.3.1: an account is made unless this is true."""
    if payload["onlyReturnExisting"] is not True:
        raise ProtocolError("“onlyReturnExisting” is not true")
    return account(payload, own)


def revoke(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 8555 §7.6."""
    if "reason" in payload:
        get_int(payload, "reason", 0, 10)
    der = _document(payload, "certificate")
    return Asked(parse_certificate(der).names, document=der)


def jws(payload: JsonObject, own: Greeting) -> Asked:
    """RFC 7515 §7.2.2: a JWS within, of a key change (RFC 8555 §7.3.5) for instance."""
    _exactly(payload, "the inner JWS", "protected", "payload", "signature")
    for key in payload:
        jose.decode(get_str(payload, key, MAX_REQUEST).encode("utf-8", "replace"))
    return Asked()


def _document(payload: JsonObject, key: str) -> bytes:
    return jose.decode(get_str(payload, key, MAX_REQUEST).encode("utf-8", "replace"))


def _exactly(obj: JsonObject, what: str, *keys: str) -> None:
    if obj.keys() != set(keys):
        raise ProtocolError(f"{what} has other members than {', '.join(keys)}")
