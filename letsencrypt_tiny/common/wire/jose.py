"""base64url, JSON Web Keys and the JWS signing input (RFC 7515, 7517, 7518, 7638)."""

import binascii
import json
import re
from typing import Any, NamedTuple

from ..errors import ProtocolError

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]*\Z")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_FROM_STANDARD = bytes.maketrans(b"+/", b"-_")

# kty -> the members of a public key that make its thumbprint, in the order of RFC 7638 §3.2
PUBLIC_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"),
                  "RSA": ("e", "kty", "n")}


def encode(data: bytes) -> bytes:
    """Return the unpadded base64url form of ``data`` (RFC 7515 §2)."""
    return binascii.b2a_base64(data, newline=False).rstrip(b"=").translate(_FROM_STANDARD)


def encode_text(data: bytes) -> str:
    """Like ``encode``, as a string."""
    return encode(data).decode("ascii")


def decode(text: bytes) -> bytes:
    """Return the bytes whose unpadded base64url form is ``text``.

    Only the one canonical form is accepted: no padding, no white space, no bits beyond
    the last byte.  Raises ProtocolError.
    """
    if not _BASE64URL.match(text) or len(text) % 4 == 1:
        raise ProtocolError("not base64url (RFC 7515 §2)")
    data = binascii.a2b_base64(text.translate(_TO_STANDARD) + b"=" * (-len(text) % 4))
    if encode(data) != text:
        raise ProtocolError("not canonical base64url")
    return data


def canonical_json(value: dict[str, Any]) -> bytes:
    """Return ``value`` as JSON without white space, keys sorted (RFC 7638 §3.3)."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode("utf-8")


def thumbprint(jwk: dict[str, Any]) -> str:
    """Return the base64url SHA-256 thumbprint of a public key (RFC 7638, RFC 8555 §8.1).

    Raises ProtocolError if ``jwk`` is no RSA, EC or OKP key.
    """
    kty = jwk.get("kty")
    members = PUBLIC_MEMBERS.get(kty) if isinstance(kty, str) else None
    if members is None or not all(isinstance(jwk.get(member), str) for member in members):
        raise ProtocolError("not an RSA, EC or OKP public key (RFC 7517)")
    import hashlib   # with libcrypto, which a master with nothing to do needs not
    required = {member: jwk[member] for member in members}
    return encode_text(hashlib.sha256(canonical_json(required)).digest())


class SigningInput(NamedTuple):
    """What is signed: BASE64URL(protected header) "." BASE64URL(payload) (RFC 7515 §5.1)."""

    protected: bytes  # decoded
    payload: bytes    # decoded; empty for POST-as-GET (RFC 8555 §6.3)


def signing_input(protected: bytes, payload: bytes) -> bytes:
    """Return the JWS signing input for a protected header and a payload."""
    return encode(protected) + b"." + encode(payload)


def parse_signing_input(text: bytes) -> SigningInput:
    """Split and decode a JWS signing input; raises ProtocolError if it isn't canonical."""
    parts = text.split(b".")
    if len(parts) != 2 or not parts[0]:
        raise ProtocolError("not a JWS signing input (RFC 7515 §5.1)")
    return SigningInput(decode(parts[0]), decode(parts[1]))
