"""What a certificate is called where its CA is asked when to renew it (RFC 9773 §4.1)."""

import binascii

from .certificate import Certificate


def cert_id(certificate: Certificate) -> str:
    """Return it: keyIdentifier of the authority, “.”, and serial number, each in base64url.

    "" where the certificate names no key of its authority, so that it can't be asked for.
    """
    if not certificate.aki:
        return ""
    return f"{_encode(certificate.aki)}.{_encode(certificate.serial)}"


def _encode(data: bytes) -> str:
    # as of wire/jose.py, which a night with nothing due has no need of
    text = binascii.b2a_base64(data, newline=False).rstrip(b"=").decode("ascii")
    return text.replace("+", "-").replace("/", "_")
