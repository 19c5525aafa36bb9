"""What is published for dns-01 (RFC 8555 §8.4): a TXT record with a digest, and nothing else."""

from base64 import urlsafe_b64encode
from typing import NamedTuple

from ..common.errors import ProtocolError
from ..common.names import is_dns
from ..common.wire.challenge import is_thumbprint
from ..common.wire.responder import Challenge

LABEL = "_acme-challenge"   # §8.4


class Record(NamedTuple):
    """A TXT record; ``checked`` makes them."""

    name: str     # canonical, without the last dot
    value: str    # base64url of a SHA-256, unpadded


def checked(name: str, value: str) -> Record:
    """Return the record; raises ProtocolError if it could be none of dns-01's."""
    if not is_dns(name) or name.startswith("*."):
        raise ProtocolError("the name of a record that is none")
    if not is_thumbprint(value):   # the same grammar: a base64url SHA-256
        raise ProtocolError("the value of a record that is no digest")
    return Record(name, value)


def value(about: Challenge) -> str:
    """Return the digest that answers a challenge (§8.4)."""
    return urlsafe_b64encode(about.digest()).decode("ascii").rstrip("=")
