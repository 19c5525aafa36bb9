"""Reads X.509 certificates and certificate requests (RFC 5280, RFC 2986), in process.

Certificates come from ACME servers, requests from whoever talks to the signer: so this is a
strict reader of hostile DER (X.690) and PEM (RFC 7468).  It reads what the program compares or
shows and nothing else: no signature is verified here.  X509Error (one line) is all that comes
out of malformed input.  A § alone is one of RFC 5280.
"""

import os
import stat
from typing import NamedTuple

from . import extensions as ext
from .der import (BIT_STRING, BOOLEAN, INTEGER, MAX_PEM, NULL, OCTET_STRING, OID, SEQUENCE, SET,
                  TRUE, X509Error, each, elements, encode_pem, integer, oid, only, pem_blocks,
                  read_block)
from .extensions import Names

__all__ = ["Certificate", "Request", "X509Error", "canonical_names", "cert_id", "encode_pem",
           "fingerprint", "key_kind", "parse_certificate", "parse_chain", "parse_request",
           "pem_blocks", "read_certificate"]

MAX_DER = 65536      # bytes of a certificate or a request
_FIRST_READ = 8192   # bytes; most certificates are shorter
_BEGIN = b"-----BEGIN CERTIFICATE-----"
_END = b"-----END CERTIFICATE-----"

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_STRINGS = {0x0c: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1c: "utf-32-be",
            0x1e: "utf-16-be"}   # DirectoryString (RFC 5280 §4.1.2.4), IA5String

_COMMON_NAME = "2.5.4.3"
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_RSA, _EC = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"
_KINDS = {"1.2.840.10045.3.1.7": "EC P-256", "1.3.132.0.34": "EC P-384",
          "1.3.132.0.35": "EC P-521", "1.3.101.112": "Ed25519", "1.3.101.113": "Ed448"}

# version -> what may follow subjectPublicKeyInfo: unique identifiers, extensions (§4.1)
_UNIQUE = (b"", b"\x81", b"\x82", b"\x81\x82")
_OPTIONAL = {None: (b"",),                   # v1, the default, is never encoded
             b"\x02\x01\x01": _UNIQUE,       # v2
             b"\x02\x01\x02": _UNIQUE + tuple(tags + b"\xa3" for tags in _UNIQUE)}

_DAYS_IN = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EPOCH = 719469   # 1970-01-01, counted from the last of February of the year 0


class Certificate(NamedTuple):
    """What we need of a certificate (RFC 5280 §4.1)."""

    der: bytes
    serial: bytes                   # DER content octets, a leading 00 kept
    issuer: bytes                   # DER
    subject: bytes                  # DER
    common_names: tuple[str, ...]   # of the subject
    not_before: int                 # Unix time
    not_after: int                  # Unix time, the last valid second
    spki: bytes                     # SubjectPublicKeyInfo, DER
    names: Names                    # ("dns", lower case), ("ip", RFC 5952), ("other", DER in hex)
    aki: bytes | None               # keyIdentifier of the authorityKeyIdentifier
    is_ca: bool                     # by basicConstraints
    extensions: tuple[str, ...]     # their OIDs


class Request(NamedTuple):
    """What we need of a certificate request (RFC 2986 §4.1); fields as in Certificate."""

    der: bytes
    subject: bytes
    common_names: tuple[str, ...]
    subject_types: tuple[str, ...]  # OIDs of the subject's attributes
    spki: bytes
    names: Names
    extensions: tuple[str, ...]     # OIDs of those requested
    attributes: tuple[str, ...]     # OIDs
    is_ca: bool                     # by basicConstraints or keyUsage
    purposes: tuple[str, ...]       # OIDs of extendedKeyUsage


def parse_certificate(der: bytes) -> Certificate:
    """Read a certificate in DER; raises X509Error unless it is one, whole and strict."""
    body, algorithm = _signed(der, "certificate")
    tags, contents, bounds = elements(body, "certificate")
    version: bytes | None = None
    if tags[:1] == b"\xa0":
        version, tags, contents, bounds = contents[0], tags[1:], contents[1:], bounds[1:]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
    if tags[:6] != INTEGER + 5 * SEQUENCE or tags[6:] not in _OPTIONAL.get(version, ()):
        raise X509Error("malformed certificate: not the fields of its version")
    if contents[1] != algorithm:   # §4.1.1.2
        raise X509Error("malformed certificate: two different signature algorithms")
    not_before, not_after = _validity(contents[3])
    extensions = _extensions(contents[-1]) if tags[-1:] == b"\xa3" else {}
    return Certificate(der, integer(contents[0]), body[bounds[2]:bounds[3]],
                       body[bounds[4]:bounds[5]], _subject(contents[4])[0],
                       not_before, not_after, body[bounds[5]:bounds[6]],
                       ext.names(extensions), ext.key_identifier(extensions),
                       ext.is_ca(extensions),
                       tuple(extensions))


def parse_request(der: bytes) -> Request:
    """Read a certificate request in DER; raises X509Error unless it is one, whole and strict."""
    body, _ = _signed(der, "certificate request")
    tags, contents, bounds = elements(body, "certificate request")
    # version v1, subject, subjectPKInfo, attributes [0] (RFC 2986 §4.1)
    if tags != INTEGER + SEQUENCE + SEQUENCE + b"\xa0" or contents[0] != b"\0":
        raise X509Error("malformed certificate request: not its fields")
    attributes = _by_oid(contents[3], "attribute", (OID + SET,)) if contents[3] else {}
    extensions = _extensions(attributes[_EXTENSION_REQUEST]) \
        if _EXTENSION_REQUEST in attributes else {}
    spki = body[bounds[2]:bounds[3]]
    _public_key(spki)
    common_names, subject_types = _subject(contents[1])
    return Request(der, body[bounds[1]:bounds[2]], common_names, subject_types, spki,
                   ext.names(extensions), tuple(extensions), tuple(attributes),
                   ext.is_ca(extensions) or ext.signs(extensions), ext.purposes(extensions))


def parse_chain(pem: bytes, most: int = 10) -> list[Certificate]:
    """Read a chain of 1 to ``most`` certificates, the end-entity's first (RFC 8555 §9.1).

    Raises X509Error also where there is anything but certificates and white space.
    """
    blocks = pem_blocks(pem, alone=True)
    if not 1 <= len(blocks) <= most:
        raise X509Error(f"{len(blocks)} certificates in the chain, not 1 to {most}")
    for label, _ in blocks:
        if label != "CERTIFICATE":
            raise X509Error(f"a {label} in the certificate chain")
    return [parse_certificate(der) for _, der in blocks]


def read_certificate(path: str) -> Certificate:
    """Read the first certificate of a PEM file, which may begin with other things.

    Raises X509Error (naming ``path``) and OSError.
    """
    # A section's owner may have put a link there: to open some devices does something already
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if stat.S_IFMT(os.fstat(place).st_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            raise X509Error(f"{path}: not a plain file")
        descriptor = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)
    try:
        text = os.read(descriptor, _FIRST_READ)
        while _END not in text and len(text) <= MAX_PEM \
                and (more := os.read(descriptor, MAX_PEM)):
            text += more
    finally:
        os.close(descriptor)
    start = 0 if text.startswith(_BEGIN) else text.find(b"\n" + _BEGIN) + 1
    try:
        if not text.startswith(_BEGIN, start):
            raise X509Error("it holds no PEM certificate")
        return parse_certificate(read_block(text, start)[1])
    except X509Error as exc:
        raise X509Error(f"{path}: {exc}") from exc


def canonical_names(item: Certificate | Request) -> frozenset[tuple[str, str]]:
    """Return the names as a set of ("dns", lower case), ("ip", RFC 5952), to compare.

    Common names are no part of it (RFC 9525 §6.3).
    """
    return frozenset(item.names)


def cert_id(certificate: Certificate) -> str:
    """Return the certID of RFC 9773 §4.1; raises X509Error without authorityKeyIdentifier."""
    from ..wire.jose import encode_text
    if not certificate.aki:
        raise X509Error("the certificate has no authority key identifier")
    return f"{encode_text(certificate.aki)}.{encode_text(certificate.serial)}"


def fingerprint(certificate: Certificate) -> str:
    """Return the SHA-256 of the certificate in lower-case hexadecimal."""
    from hashlib import sha256
    return sha256(certificate.der).hexdigest()


def key_kind(spki: bytes) -> str:
    """Return ``RSA 2048``, ``EC P-256``, ``Ed25519`` … or ``unknown``, also when malformed."""
    try:
        return _key_kind(spki)
    except X509Error:
        return "unknown"


def _public_key(spki: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Return tags and contents of the algorithm, and the key."""
    # SEQUENCE { SEQUENCE { OID, parameters }, BIT STRING } (§4.1)
    tags, contents, _ = elements(only(SEQUENCE, spki, "public key"), "public key")
    if tags != SEQUENCE + BIT_STRING or contents[1][:1] != b"\0":
        raise X509Error("malformed public key")
    key = contents[1][1:]
    tags, contents, _ = elements(contents[0], "public key")
    if tags[:1] != OID or len(tags) > 2:
        raise X509Error("malformed public key")
    return tags, contents, key


def _key_kind(spki: bytes) -> str:
    tags, contents, key = _public_key(spki)
    algorithm = oid(contents[0])
    if tags == OID and key:
        return _KINDS.get(algorithm, "unknown")
    if tags == OID + OID and algorithm == _EC:
        return _KINDS.get(oid(contents[1]), "unknown")
    if tags == OID + NULL and algorithm == _RSA:   # RFC 3279 §2.3.1
        tags, contents, _ = elements(only(SEQUENCE, key, "public key"), "public key")
        if tags == INTEGER + INTEGER:
            modulus = int.from_bytes(integer(contents[0]), "big", signed=True)
            return f"RSA {modulus.bit_length()}" if modulus > 0 else "unknown"
    return "unknown"


def _signed(der: bytes, what: str) -> tuple[bytes, bytes]:
    # SEQUENCE { SEQUENCE content, SEQUENCE algorithm, BIT STRING signature }: the first two
    if len(der) > MAX_DER:
        raise X509Error(f"{what} is larger than {MAX_DER} bytes")
    tags, contents, _ = elements(only(SEQUENCE, der, what), what)
    if tags != SEQUENCE + SEQUENCE + BIT_STRING or contents[2][:1] != b"\0":
        raise X509Error(f"malformed {what}")
    return contents[0], contents[1]


def _validity(data: bytes) -> tuple[int, int]:
    tags, contents, _ = elements(data, "validity")
    if len(tags) != 2:
        raise X509Error("malformed validity")
    not_before, not_after = _time(tags[0], contents[0]), _time(tags[1], contents[1])
    if not_after < not_before:
        raise X509Error("the certificate expires before it becomes valid")
    return not_before, not_after


def _time(tag: int, text: bytes) -> int:
    """Return the Unix time of a UTCTime YYMMDDHHMMSSZ (years 1950 to 2049) or a
    GeneralizedTime YYYYMMDDHHMMSSZ (§4.1.2.5)."""
    if tag == _UTC_TIME and len(text) == 13:
        text = (b"19" if text[:2] >= b"50" else b"20") + text
    elif tag != _GENERALIZED_TIME or len(text) != 15:
        raise X509Error("malformed date")
    if text[14:] != b"Z" or not text[:14].isdigit():
        raise X509Error("malformed date")
    year, month, day = int(text[:4]), int(text[4:6]), int(text[6:8])
    hour, minute, second = int(text[8:10]), int(text[10:12]), int(text[12:14])
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or hour > 23 or minute > 59 or second > 59 \
            or not 1 <= day <= _DAYS_IN[month] + (leap and month == 2):
        raise X509Error(f"there is no date {text.decode()}")
    # months since March of the year in which that was, so that leap days come last
    months, year = (month + 9) % 12, year - (month < 3)
    days = 365 * year + year // 4 - year // 100 + year // 400 + (153 * months + 2) // 5 + day
    return (days - _EPOCH) * 86400 + hour * 3600 + minute * 60 + second


def _subject(name: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
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


def _by_oid(data: bytes, what: str, forms: tuple[bytes, ...]) -> dict[str, bytes]:
    """Return OID -> value of each extension or attribute, in order; none may occur twice."""
    found: dict[str, bytes] = {}
    for item in each(SEQUENCE, data, what):
        tags, contents, _ = elements(item, what)
        # critical BOOLEAN DEFAULT FALSE: defaults aren't encoded (X.690 §11.5)
        if tags not in forms or not contents[-1] or tags[1:2] == BOOLEAN and contents[1] != TRUE:
            raise X509Error(f"malformed {what}")
        name = oid(contents[0])
        if name in found:
            raise X509Error(f"{what} {name} occurs twice")
        found[name] = contents[-1]
    return found


def _extensions(data: bytes) -> dict[str, bytes]:
    # SEQUENCE OF SEQUENCE { OID, critical, OCTET STRING } (§4.1.2.9)
    return _by_oid(only(SEQUENCE, data, "extensions"), "extension",
                   (OID + OCTET_STRING, OID + BOOLEAN + OCTET_STRING))
