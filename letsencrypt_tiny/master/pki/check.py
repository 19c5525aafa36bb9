"""Is what openssl made what it was asked for?  Exit status 0 proves nothing.

Read in process: another openssl may be as wrong as the first.
"""

from ...common.errors import Error
from ...common.x509.csr import CSR
from ...common.x509.der import INTEGER, SEQUENCE, X509Error, elements, encode, only, pem_blocks
from ..plan.keytype import key_type
from ..settings.certificates import Section

_WHAT = "private key"
_OCTETS, _BITS, _PARAMETERS, _PUBLIC = b"\x04", b"\x03", b"\xa0", b"\xa1"
# AlgorithmIdentifier of an RSA key, with its NULL, and OID of an elliptic curve's (RFC 3279 §2.3)
_RSA = bytes.fromhex("06092a864886f70d0101010500")
_EC = bytes.fromhex("06072a8648ce3d0201")


def public_key(pem: bytes) -> bytes | None:
    """Return the SubjectPublicKeyInfo (DER) that a private key, PEM, has in it; None for a kind of
    key that this doesn't know, or one that doesn't have it."""
    try:
        for label, der in pem_blocks(pem):
            if label == "PRIVATE KEY":               # PKCS #8, RFC 5958 §2
                _, (_, algorithm, key, *_), _ = elements(only(SEQUENCE, der, _WHAT), _WHAT)
                return _ec(algorithm, key) if algorithm.startswith(_EC) else \
                    _rsa(key) if algorithm == _RSA else None
            if label == "RSA PRIVATE KEY":           # RFC 8017 §A.1.2
                return _rsa(der)
            if label == "EC PRIVATE KEY":            # RFC 5915 §3
                return _ec(b"", der)
    except (X509Error, ValueError):
        pass
    return None


def _rsa(der: bytes) -> bytes:
    tags, contents, _ = elements(only(SEQUENCE, der, _WHAT), _WHAT)
    if tags[:3] != 3 * INTEGER:
        raise X509Error("malformed RSA key")
    numbers = b"".join(encode(INTEGER, number) for number in contents[1:3])
    return encode(SEQUENCE, encode(SEQUENCE, _RSA), encode(_BITS, b"\0", encode(SEQUENCE, numbers)))


def _ec(algorithm: bytes, der: bytes) -> bytes | None:
    tags, contents, _ = elements(only(SEQUENCE, der, _WHAT), _WHAT)
    parts = {tags[index:index + 1]: content for index, content in enumerate(contents)}
    if _PUBLIC not in parts or not (algorithm or _PARAMETERS in parts):
        return None
    return encode(SEQUENCE, encode(SEQUENCE, algorithm or _EC + parts[_PARAMETERS]),
                  parts[_PUBLIC])


def check_request(csr: CSR, section: Section, pem: bytes) -> None:
    """Raise Error unless a CSR is for the names of ``section`` and the private key in ``pem``."""
    spki = public_key(pem)
    if spki is not None and spki != csr.spki:
        raise Error("openssl req made it for another key")
    if set(csr.names) != set(section.identifiers):
        raise Error("openssl req made it for other names")


def check_new_key(csr: CSR, section: Section, pem: bytes) -> None:
    """Raise Error if a key that was made for ``section``, in ``pem``, is none, or of another
    type."""
    if public_key(pem) != csr.spki:
        raise Error("openssl req made no private key that could be read")
    found = key_type(csr.spki)
    if found not in ("", section.key_type):
        raise Error(f"openssl req made a key of type {found}, not {section.key_type}")
