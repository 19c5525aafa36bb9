"""A key that waits in the state directory for the certificate it is to be installed with.

Its file holds the private key, as it will be installed, and then the public one: whoever only
wants to tell of it needs no openssl, and no private key.
"""

from ...common import trusted
from ...common.errors import Error
from ...common.x509.der import X509Error, encode_pem, pem_blocks
from . import keys

_PUBLIC = "PUBLIC KEY"   # RFC 7468 §13


def create(path: str, pem: bytes, spki: bytes) -> None:
    """Write a new key (PEM) and its SubjectPublicKeyInfo (DER), never replacing a file.

    Raises Error.
    """
    keys.create(path, pem + encode_pem(spki, _PUBLIC))


def private_key(text: bytes) -> bytes:
    """Return of a file's text what is to be installed."""
    return text.partition(f"-----BEGIN {_PUBLIC}-----".encode())[0]


def public_key(path: str) -> bytes:
    """Return the SubjectPublicKeyInfo (DER) of the key at ``path``.

    b"" if none waits there, or nobody but openssl can tell.  Raises Error.
    """
    try:
        with open(trusted.open_unchangeable(path), "rb") as file:
            text = file.read(keys.MAX_KEY + 1)
        return next((der for label, der in pem_blocks(text, keys.MAX_KEY) if label == _PUBLIC), b"")
    except (FileNotFoundError, X509Error):
        return b""
    except OSError as exc:
        raise Error(f"{path}: cannot read it: {exc.strerror}") from exc
