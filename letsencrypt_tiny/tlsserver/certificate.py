"""The certificate that answers a challenge (RFC 8737 §3), and the key that signs it.

The key proves nothing, so one serves all challenges of a process; it never leaves its memory.
"""

import os
import time

from ..common.names import Identifier
from ..common.pycryptodome import module
from ..common.x509 import der
from ..common.x509.der import encode, encode_oid

ACME_IDENTIFIER = "1.3.6.1.5.5.7.1.31"   # §6.1, id-pe-acmeIdentifier

_ECDSA_SHA256, _COMMON_NAME, _SUBJECT_ALT_NAME = "1.2.840.10045.4.3.2", "2.5.4.3", "2.5.29.17"
_DNS_NAME, _IP_ADDRESS = b"\x82", b"\x87"    # GeneralName (RFC 5280 §4.2.1.6)
_DAY = 86400


class Key:
    """A key on P-256, made here."""

    def __init__(self) -> None:
        self._key = module("PublicKey.ECC").generate(curve="P-256")
        self._hash = module("Hash.SHA256")
        self._signer = module("Signature.DSS").new(self._key, "fips-186-3", encoding="der")
        self._public: bytes = self._key.public_key().export_key(format="DER")

    def pem(self) -> bytes:
        """Return the private key (PKCS #8)."""
        text: str = self._key.export_key(format="PEM")
        return text.encode("ascii") + b"\n"

    def certificate(self, identifier: Identifier, digest: bytes) -> bytes:
        """Return the self-signed certificate for a challenge, in PEM.

        Its subjectAltName is the identifier alone (RFC 8738 §6 for addresses), its critical
        acmeIdentifier the ``digest`` of the key authorization.
        """
        algorithm = encode(der.SEQUENCE, encode_oid(_ECDSA_SHA256))
        tbs = encode(der.SEQUENCE,
                     encode(b"\xa0", encode(der.INTEGER, b"\2")),                 # version 3
                     encode(der.INTEGER, b"\1" + os.urandom(15)), algorithm,
                     _NAME, _validity(time.time()), _NAME, self._public,
                     encode(b"\xa3", encode(
                         der.SEQUENCE, _subject_alt_name(identifier), _acme_identifier(digest))))
        signature: bytes = self._signer.sign(self._hash.new(tbs))
        return der.encode_pem(encode(der.SEQUENCE, tbs, algorithm,
                                     encode(der.BIT_STRING, b"\0", signature)))


_NAME = encode(der.SEQUENCE, encode(der.SET, encode(
    der.SEQUENCE, encode_oid(_COMMON_NAME), encode(der.UTF8_STRING, b"ACME challenge"))))


def _validity(now: float) -> bytes:
    """From yesterday on, for clocks differ; for a week."""
    return encode(der.SEQUENCE, _time(now - _DAY), _time(now + 7 * _DAY))


def _time(moment: float) -> bytes:
    """Return a Time: since 2050 with four digits of the year (RFC 5280 §4.1.2.5)."""
    text = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(moment)).encode("ascii")
    return encode(der.UTC_TIME, text[2:]) if text < b"2050" else encode(der.GENERALIZED_TIME, text)


def _subject_alt_name(identifier: Identifier) -> bytes:
    kind, value = identifier
    if kind == "ip":
        import ipaddress
        name = encode(_IP_ADDRESS, ipaddress.ip_address(value).packed)
    else:
        name = encode(_DNS_NAME, value.encode("ascii"))
    return encode(der.SEQUENCE, encode_oid(_SUBJECT_ALT_NAME),
                  encode(der.OCTET_STRING, encode(der.SEQUENCE, name)))


def _acme_identifier(digest: bytes) -> bytes:
    return encode(der.SEQUENCE, encode_oid(ACME_IDENTIFIER), encode(der.BOOLEAN, der.TRUE),
                  encode(der.OCTET_STRING, encode(der.OCTET_STRING, digest)))
