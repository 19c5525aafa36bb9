"""What an ACME challenge consists of (RFC 8555 §8): token, key authorization, digest.

For whoever presents, answers or tidies up a challenge; pure functions.
"""

MAX_TOKEN = 128       # characters; Let's Encrypt's have 43
THUMBPRINT = 43       # characters of a SHA-256 thumbprint (RFC 7638)
MAX_KEY_AUTHORIZATION = MAX_TOKEN + 1 + THUMBPRINT
HTTP_PATH = "/.well-known/acme-challenge/"   # §8.3

# base64url (RFC 4648 §5): no dot, no slash, no percent sign, so a token is a file name.  128 bits
# of entropy are at least 22 letters (§8.3); whether they are random can't be seen
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def is_token(text: str) -> bool:
    """True if ``text`` can be a challenge's token, and so the name of a file."""
    return 1 <= len(text) <= MAX_TOKEN and _LETTERS.issuperset(text)


def is_thumbprint(text: str) -> bool:
    """True if ``text`` is a base64url SHA-256, as the thumbprint of an account's key is."""
    return len(text) == THUMBPRINT and _LETTERS.issuperset(text)


def key_authorization(token: str, thumbprint: str) -> bytes:
    """Return token || "." || base64url(thumbprint of the account's key) (§8.1)."""
    return f"{token}.{thumbprint}".encode("ascii")


def digest(authorization: bytes) -> bytes:
    """Return SHA-256 of a key authorization, as dns-01 (§8.4) and tls-alpn-01 publish it."""
    from hashlib import sha256
    return sha256(authorization).digest()
