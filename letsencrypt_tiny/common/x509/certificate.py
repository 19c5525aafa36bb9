"""Reads X.509 certificates (RFC 5280) in process.

They come from ACME servers: so this is a strict reader of hostile DER (X.690) and PEM
(RFC 7468).  It reads what the program compares or shows and nothing else: no signature is
verified here.  X509Error (one line) is all that comes out of malformed input.  A § alone is one
of RFC 5280.
"""

from functools import lru_cache
from typing import NamedTuple

from . import extensions as ext, fields
from ..clock import DAY, days
from .der import INTEGER, SEQUENCE, X509Error, elements, integer, pem_blocks
from .extensions import Names

_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18

# version -> what may follow subjectPublicKeyInfo: unique identifiers, extensions (§4.1)
_UNIQUE = (b"", b"\x81", b"\x82", b"\x81\x82")
_OPTIONAL = {None: (b"",),                   # v1, the default, is never encoded
             b"\x02\x01\x01": _UNIQUE,       # v2
             b"\x02\x01\x02": _UNIQUE + tuple(tags + b"\xa3" for tags in _UNIQUE)}

_DAYS_IN = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


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
    ski: bytes | None               # subjectKeyIdentifier
    is_ca: bool                     # by basicConstraints
    extensions: tuple[str, ...]     # their OIDs


@lru_cache(16)   # the intermediates are the same in very many chains
def parse_certificate(der: bytes) -> Certificate:
    """Read a certificate in DER; raises X509Error unless it is one, whole and strict."""
    body, algorithm = fields.signed(der, "certificate")
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
    extensions = fields.extensions(contents[-1]) if tags[-1:] == b"\xa3" else {}
    return Certificate(der, integer(contents[0]), body[bounds[2]:bounds[3]],
                       body[bounds[4]:bounds[5]], fields.subject(contents[4])[0],
                       not_before, not_after, body[bounds[5]:bounds[6]],
                       ext.names(extensions), ext.key_identifier(extensions),
                       ext.subject_key(extensions), ext.is_ca(extensions), tuple(extensions))


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
    date, clock = divmod(int(text[:14]), 1_000_000)
    year, month, day = date // 10_000, date // 100 % 100, date % 100
    hour, minute, second = clock // 10_000, clock // 100 % 100, clock % 100
    if not 1 <= month <= 12 or not 1 <= day <= _days_in(year, month) \
            or hour > 23 or minute > 59 or second > 59:
        raise X509Error(f"there is no date {text.decode()}")
    return days(year, month, day) * DAY + hour * 3600 + minute * 60 + second


def _days_in(year: int, month: int) -> int:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if leap and month == 2 else _DAYS_IN[month]
