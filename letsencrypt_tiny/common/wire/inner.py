"""The JWS within a request, for the client, who has it signed, and the signer, who looks into it.

External account binding (RFC 8555 §7.3.4) and key change (§7.3.5) each send one, which has no
nonce.  Pure functions: no I/O here.
"""

import re

from . import jose
from .jsonfields import JsonObject, dump

# RFC 7518 §3.2; the first is the default
MAC_ALGORITHMS = ("HS256", "HS384", "HS512")
MAX_BINDINGS = 20      # external accounts of one signer
# What a CA may call an external account, and a section of accountd.conf be called after it
_KID = re.compile(r"[A-Za-z0-9._~+/=:@-]{1,200}\Z")

BINDING = "externalAccountBinding"


def is_kid(text: str) -> bool:
    """True for what can name an external account."""
    return bool(_KID.match(text))


def binding(kid: str, alg: str, url: str, jwk: JsonObject) -> bytes:
    """Return the signing input that binds the account of the key ``jwk`` to an external one.

    ``url`` is that of newAccount; ``alg`` is of MAC_ALGORITHMS.
    """
    return jose.signing_input(dump({"alg": alg, "kid": kid, "url": url}), dump(jwk))


def key_change(alg: str, jwk: JsonObject, url: str, account: str, old_key: JsonObject) -> bytes:
    """Return the signing input by which the key ``jwk`` takes an account over from ``old_key``.

    ``url`` is that of keyChange, ``account`` the account's.
    """
    return jose.signing_input(dump({"alg": alg, "jwk": jwk, "url": url}),
                              dump({"account": account, "oldKey": old_key}))


def flattened(signing_input: bytes, signature: bytes) -> JsonObject:
    """Return a JWS in its flattened JSON form (RFC 7515 §7.2.2)."""
    protected, _, payload = signing_input.decode("ascii").partition(".")
    return {"protected": protected, "payload": payload,
            "signature": jose.encode_text(signature)}
