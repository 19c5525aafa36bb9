"""What the extensions of X.509 certificates and requests hold (RFC 5280 §4.2).

Each function takes OID -> DER value, as fields.py found them, and raises X509Error.  A § alone
is one of RFC 5280.
"""

from functools import lru_cache

from .der import (BIT_STRING, BOOLEAN, INTEGER, OCTET_STRING, OID, SEQUENCE, TRUE, X509Error, each,
                  elements, oid, only)

Names = tuple[tuple[str, str], ...]   # ("dns", lower case), ("ip", RFC 5952), ("other", hex)

_DNS, _IP = 0x82, 0x87
_OTHER_NAMES = b"\xa0\x81\xa3\xa4\xa5\x86\x88"   # the rest of GeneralName (§4.2.1.6)
_DNS_CHARACTERS = b"abcdefghijklmnopqrstuvwxyz0123456789-_."
_KEY_CERT_SIGN, _CRL_SIGN = 0x04, 0x02   # in the first octet of keyUsage (§4.2.1.3)

# subjectKeyIdentifier, subjectAltName, authorityKeyIdentifier
_SUBJECT_KEY, _SUBJECT_ALT_NAME, _AUTHORITY_KEY = "2.5.29.14", "2.5.29.17", "2.5.29.35"
_BASIC, _KEY_USAGE, _EXTENDED = "2.5.29.19", "2.5.29.15", "2.5.29.37"   # basicConstraints …
_EMPTY = SEQUENCE + b"\0"


def names(extensions: dict[str, bytes]) -> Names:
    """Return the names of a subjectAltName (§4.2.1.6)."""
    if _SUBJECT_ALT_NAME not in extensions:
        return ()
    data = only(SEQUENCE, extensions[_SUBJECT_ALT_NAME], "subjectAltName")
    tags, contents, bounds = elements(data, "subjectAltName")
    if not tags:
        raise X509Error("empty subjectAltName")
    found: list[tuple[str, str]] = []
    for index, tag in enumerate(tags):
        if tag == _DNS:
            found.append(("dns", _dns_name(contents[index])))
        elif tag == _IP:
            found.append(("ip", _ip_address(contents[index])))
        elif tag in _OTHER_NAMES:
            found.append(("other", data[bounds[index]:bounds[index + 1]].hex()))
        else:
            raise X509Error("malformed subjectAltName")
    return tuple(found)


def _dns_name(content: bytes) -> str:
    """Return a host name, ``*.`` before it or not, in lower case (RFC 1034 §3.5, RFC 9525 §6.3).

    Underscores occur and do no harm.
    """
    name = content.lower()
    host = name[2:] if name[:2] == b"*." else name
    if len(name) > 253 or host.translate(None, _DNS_CHARACTERS) \
            or not all(0 < len(label) < 64 for label in host.split(b".")):
        raise X509Error(f"malformed DNS name {ascii(content[:80])[1:]}")
    return name.decode("ascii")


def _ip_address(content: bytes) -> str:
    if len(content) == 4:
        return "%d.%d.%d.%d" % tuple(content)
    if len(content) != 16:
        raise X509Error("malformed IP address")
    from ipaddress import IPv6Address
    return str(IPv6Address(content))


def subject_key(extensions: dict[str, bytes]) -> bytes | None:
    """Return the subjectKeyIdentifier (§4.2.1.2), None if there is none."""
    if _SUBJECT_KEY not in extensions:
        return None
    return only(OCTET_STRING, extensions[_SUBJECT_KEY], "subjectKeyIdentifier")


def key_identifier(extensions: dict[str, bytes]) -> bytes | None:
    """Return the keyIdentifier of an authorityKeyIdentifier, None if there is none."""
    return _key_identifier(extensions.get(_AUTHORITY_KEY, _EMPTY))


@lru_cache(16)   # a CA's certificates have the same
def _key_identifier(value: bytes) -> bytes | None:
    # SEQUENCE { keyIdentifier [0], authorityCertIssuer [1], authorityCertSerialNumber [2] },
    # each optional, the last two together (§4.2.1.1)
    what = "authorityKeyIdentifier"
    tags, contents, _ = elements(only(SEQUENCE, value, what), what)
    if tags not in (b"", b"\x80", b"\xa1\x82", b"\x80\xa1\x82"):
        raise X509Error(f"malformed {what}")
    return contents[0] if tags[:1] == b"\x80" else None


def is_ca(extensions: dict[str, bytes]) -> bool:
    """True if basicConstraints say so."""
    return _is_ca(extensions.get(_BASIC, _EMPTY))


@lru_cache(16)   # the same in all but a few
def _is_ca(value: bytes) -> bool:
    # SEQUENCE { cA BOOLEAN DEFAULT FALSE, pathLenConstraint INTEGER OPTIONAL }, the latter for
    # CAs only (§4.2.1.9)
    what = "basicConstraints"
    tags, contents, _ = elements(only(SEQUENCE, value, what), what)
    if tags not in (b"", BOOLEAN, BOOLEAN + INTEGER) or tags and contents[0] != TRUE:
        raise X509Error(f"malformed {what}")
    return tags != b""


def signs(extensions: dict[str, bytes]) -> bool:
    """True if keyUsage lets the key sign certificates or CRLs (§4.2.1.3)."""
    if _KEY_USAGE not in extensions:
        return False
    # nine bits; zeros at the end should be left out (X.690 §11.2.2), but GnuTLS writes them
    content = only(BIT_STRING, extensions[_KEY_USAGE], "keyUsage")
    if not 2 <= len(content) <= 3 or content[0] > 7 or content[-1] & (1 << content[0]) - 1:
        raise X509Error("malformed keyUsage")
    return content[1] & (_KEY_CERT_SIGN | _CRL_SIGN) != 0


def purposes(extensions: dict[str, bytes]) -> tuple[str, ...]:
    """Return the OIDs of an extendedKeyUsage (§4.2.1.12)."""
    what = "extendedKeyUsage"
    if _EXTENDED not in extensions:
        return ()
    return tuple(map(oid, each(OID, only(SEQUENCE, extensions[_EXTENDED], what), what)))
