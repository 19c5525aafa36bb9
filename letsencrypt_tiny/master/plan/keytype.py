"""Which ``key-type`` a public key is of."""

from ...common.x509.der import SEQUENCE, X509Error, elements, oid, only

_RSA, _EC = "1.2.840.113549.1.1.1", "1.2.840.10045.2.1"                # RFC 3279 §2.3
_CURVES = {"1.2.840.10045.3.1.7": "P-256", "1.3.132.0.34": "P-384"}    # RFC 5480 §2.1.1.1
_WHAT = "public key"


def key_type(spki: bytes) -> str:
    """Return the type of a SubjectPublicKeyInfo (DER) as the setting has it, such as ``ec:P-256``;
    "" if it is none that this has a word for.
    """
    try:
        _, (algorithm, bits), _ = elements(only(SEQUENCE, spki, _WHAT), _WHAT)
        _, (kind, *parameters), _ = elements(algorithm, _WHAT)
        if oid(kind) == _EC:
            curve = _CURVES.get(oid(parameters[0]), "")
            return f"ec:{curve}" if curve else ""
        if oid(kind) == _RSA:   # RFC 3279 §2.3.1: modulus, exponent
            _, (modulus, _), _ = elements(only(SEQUENCE, bits[1:], _WHAT), _WHAT)
            return f"rsa:{int.from_bytes(modulus, 'big').bit_length()}"
    except (X509Error, ValueError, IndexError):
        pass
    return ""
