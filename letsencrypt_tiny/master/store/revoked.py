"""What we had revoked, as the journal keeps it: digests of certificates and of compromised keys."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...common.wire.jsonfields import JsonObject

FILE = "revoked.json"
MAX_REVOKED = 1000     # certificates, and keys, that are remembered


def digests(obj: "JsonObject", member: str) -> list[str]:
    """Return what is remembered, SHA-256 in hexadecimal, the oldest first."""
    known = obj.get(member)
    return [item for item in known if isinstance(item, str)] if isinstance(known, list) else []


def add(obj: "JsonObject", member: str, data: bytes) -> None:
    """Add a certificate (DER) or a key (SubjectPublicKeyInfo); the oldest make room."""
    digest = _digest(data)
    obj[member] = [*(item for item in digests(obj, member) if item != digest),
                   digest][-MAX_REVOKED:]


def take_back(obj: "JsonObject", member: str, data: bytes) -> None:
    """Forget one that is not revoked after all."""
    digest = _digest(data)
    obj[member] = [item for item in digests(obj, member) if item != digest]


def _digest(data: bytes) -> str:
    from hashlib import sha256
    return sha256(data).hexdigest()
