"""Token, thumbprint, key authorization, digest: what an ACME challenge consists of."""

import hashlib

import pytest

from letsencrypt_tiny.common.wire import challenge

# RFC 8555 §8.1 and §8.3
TOKEN = "LoqXcYV8q5ONbJQxbmR7SCTNo3tiAXDfowyjxAjEuX0"
THUMBPRINT = "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"


@pytest.mark.parametrize("text", ["a", "-", "_", "0", "Z" * 128, TOKEN, "-rf", "__init__"])
def test_tokens(text: str) -> None:
    assert challenge.is_token(text)


@pytest.mark.parametrize("text", [
    "", "a" * 129, ".", "..", "a/b", "../a", "/etc/passwd", "a.b", "a=", "a+", "a%2f", "a\0", "a\n",
    "\na", " ", "a b", "a\\b", "\u00e9", "\uff41", "\u0661", "\ud800", "a\u200b"], ids=ascii)
def test_what_is_no_token(text: str) -> None:
    """It becomes the name of a file and part of a path: base64url letters and nothing else."""
    assert not challenge.is_token(text)


@pytest.mark.parametrize("text, good", [
    (THUMBPRINT, True), (THUMBPRINT[:-1], False), (THUMBPRINT + "A", False), ("", False),
    (THUMBPRINT[:-1] + "=", False), (THUMBPRINT[:-1] + "\n", False), (THUMBPRINT + "\n", False),
    (THUMBPRINT[:-1] + ".", False), (THUMBPRINT[:-1] + "\u0661", False)])
def test_thumbprints(text: str, good: bool) -> None:
    assert challenge.is_thumbprint(text) == good


def test_key_authorization() -> None:
    """RFC 8555 §8.1; the longest is as long as the limit says."""
    assert challenge.key_authorization(TOKEN, THUMBPRINT) == f"{TOKEN}.{THUMBPRINT}".encode()
    longest = challenge.key_authorization("a" * challenge.MAX_TOKEN, THUMBPRINT)
    assert len(longest) == challenge.MAX_KEY_AUTHORIZATION


def test_digest() -> None:
    """RFC 8555 §8.4: the octets, not their base64url."""
    text = challenge.key_authorization(TOKEN, THUMBPRINT)
    assert challenge.digest(text) == hashlib.sha256(text).digest()
    assert len(challenge.digest(b"")) == 32
