"""What certificates and CSRs share: the signed envelope, subjects, keys, lists of extensions.

Each function raises X509Error.  A § alone is one of RFC 5280.
"""

from functools import lru_cache

from .der import (BIT_STRING, BOOLEAN, OCTET_STRING, OID, SEQUENCE, SET, TRUE, X509Error, each,
                  elements, oid, only)

MAX_DER = 65536      # bytes of a certificate or a CSR

_STRINGS = {0x0c: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1c: "utf-32-be",
            0x1e: "utf-16-be"}   # DirectoryString (RFC 5280 §4.1.2.4), IA5String
_COMMON_NAME = "2.5.4.3"


def signed(der: bytes, what: str) -> tuple[bytes, bytes]:
    """Return content and algorithm of what is signed; the signature is not looked at.  ``what``
    it is, for the message."""
    # SEQUENCE { SEQUENCE content, SEQUENCE algorithm, BIT STRING signature }
    if len(der) > MAX_DER:
        raise X509Error(f"{what} is larger than {MAX_DER} bytes")
    tags, contents, _ = elements(only(SEQUENCE, der, what), what)
    if tags != SEQUENCE + SEQUENCE + BIT_STRING or contents[2][:1] != b"\0":
        raise X509Error(f"malformed {what}")
    return contents[0], contents[1]


def subject(name: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the common names, and the OIDs of all attributes."""
    # SEQUENCE OF SET OF SEQUENCE { OID, value }; the outermost may be empty (§4.1.2.6)
    found: list[str] = []
    types: list[str] = []
    for relative in each(SET, name, "subject") if name else ():
        for attribute in each(SEQUENCE, relative, "subject"):
            tags, contents, _ = elements(attribute, "subject")
            if len(tags) != 2 or tags[:1] != OID:
                raise X509Error("malformed subject")
            types.append(oid(contents[0]))
            if types[-1] == _COMMON_NAME:
                found.append(_text(tags[1], contents[1]))
    return tuple(found), tuple(types)


def _text(tag: int, content: bytes) -> str:
    try:
        text = content.decode(_STRINGS.get(tag, ""))
    except (LookupError, ValueError) as exc:
        raise X509Error("malformed common name") from exc
    if not text or not text.isprintable():
        raise X509Error("a common name is empty or holds control characters")
    return text


def check_public_key(spki: bytes) -> None:
    """Raise X509Error unless ``spki`` is a SubjectPublicKeyInfo, of whatever algorithm."""
    # SEQUENCE { SEQUENCE { OID, parameters }, BIT STRING } (§4.1)
    tags, contents, _ = elements(only(SEQUENCE, spki, "public key"), "public key")
    if tags != SEQUENCE + BIT_STRING or contents[1][:1] != b"\0":
        raise X509Error("malformed public key")
    tags, _, _ = elements(contents[0], "public key")
    if tags[:1] != OID or len(tags) > 2:
        raise X509Error("malformed public key")


def by_oid(data: bytes, what: str, forms: tuple[bytes, ...]) -> dict[str, bytes]:
    """Return OID -> value of each extension or attribute, in order; none may occur twice."""
    found: dict[str, bytes] = {}
    for item in each(SEQUENCE, data, what):
        name, value = _typed(item, what, forms)
        if name in found:
            raise X509Error(f"{what} {name} occurs twice")
        found[name] = value
    return found


@lru_cache(64)   # most are the same in every certificate of a CA's
def _typed(item: bytes, what: str, forms: tuple[bytes, ...]) -> tuple[str, bytes]:
    tags, contents, _ = elements(item, what)
    # critical BOOLEAN DEFAULT FALSE: defaults aren't encoded (X.690 §11.5)
    if tags not in forms or not contents[-1] or tags[1:2] == BOOLEAN and contents[1] != TRUE:
        raise X509Error(f"malformed {what}")
    return oid(contents[0]), contents[-1]


def extensions(data: bytes) -> dict[str, bytes]:
    """Return OID -> DER value of each extension, in order (§4.1.2.9)."""
    # SEQUENCE OF SEQUENCE { OID, critical, OCTET STRING }
    return by_oid(only(SEQUENCE, data, "extensions"), "extension",
                  (OID + OCTET_STRING, OID + BOOLEAN + OCTET_STRING))
