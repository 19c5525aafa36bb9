"""The key of updates, in the form that tsig-keygen(8) prints (RFC 8945)."""

import re
from base64 import b64decode
from typing import NamedTuple

import dns.exception
import dns.name
import dns.tsig

from ...common.errors import ConfigError
from ...common.log import printable

ALGORITHMS = ("hmac-sha224", "hmac-sha256", "hmac-sha384", "hmac-sha512")
_LEAST = 8     # bytes of a secret

_COMMENT = re.compile(r"//[^\n]*|#[^\n]*|/\*.*?\*/", re.S)
_KEY = re.compile(r'\s*key\s+"?([A-Za-z0-9._-]{1,253})"?\s*\{([^{}]*)\}\s*;?\s*\Z', re.S)
_CLAUSE = re.compile(r'\s*(algorithm|secret)\s+"?([^"\s;]+)"?\s*;')


class Key(NamedTuple):
    """A name and a secret that the server knows, too."""

    name: str
    algorithm: str
    secret: bytes

    def ring(self) -> dict[dns.name.Name, dns.tsig.Key]:
        """Return it as dnspython wants it; raises ConfigError."""
        try:
            name = dns.name.from_text(self.name)
        except dns.exception.DNSException as exc:
            raise ConfigError(f"key-file: “{self.name}” is no name of a key") from exc
        key = dns.tsig.Key(name, self.secret, self.algorithm)  # type: ignore[no-untyped-call]
        return {name: key}


def parse(text: str) -> Key:
    """Parse the one key in the text of a file; raises ConfigError."""
    # base64 has slashes, but no two before the closing quote that are followed by more lines
    match = _KEY.match(_COMMENT.sub(_without, text))
    if match is None:
        raise ConfigError("key-file: not one key as tsig-keygen(8) prints it: "
                          "key \"NAME\" { algorithm hmac-sha256; secret \"BASE64\"; };")
    name, body = match.groups()
    clauses = dict(_CLAUSE.findall(body))
    rest = _CLAUSE.sub("", body).strip()
    if rest or set(clauses) != {"algorithm", "secret"}:
        raise ConfigError(f"key-file: the key “{name}” needs an algorithm and a secret, and "
                          "nothing else")
    algorithm = clauses["algorithm"].lower().rstrip(".")
    if algorithm not in ALGORITHMS:
        raise ConfigError(f"key-file: the key “{name}” is for {printable(algorithm, 60)}, not one "
                          f"of {', '.join(ALGORITHMS)} (make one by tsig-keygen -a hmac-sha256)")
    try:
        secret = b64decode(clauses["secret"], validate=True)
    except ValueError as exc:
        raise ConfigError(f"key-file: the secret of the key “{name}” is no base64") from exc
    if len(secret) < _LEAST:
        raise ConfigError(f"key-file: the secret of the key “{name}” is too short")
    return Key(name.lower().rstrip("."), algorithm, secret)


def _without(match: "re.Match[str]") -> str:
    """Return what a comment leaves; within quotes there is none."""
    before = match.string[match.string.rfind("\n", 0, match.start()) + 1:match.start()]
    return match.group() if before.count('"') % 2 else " "
