"""Client <-> signer: the messages of one conversation, for both ends.

Wire-compatible with lacme-accountd(1), protocol version 1; lines end in CR LF::

    S: 1 OK {"alg":"RS256","jwk-thumbprint":"…"[,"kid":"…"]}
    S: {"e":"AQAB","kty":"RSA","n":"…"}            ({} when a kid was configured)
    C: BASE64URL(protected header) "." BASE64URL(payload)
    S: BASE64URL(signature)                         (repeat)

An old signer greets with ``1 OK`` alone.  A refusal is ``NOSIGN reason``, after which
the signer closes the connection.  Pure functions and one buffer: no I/O here.
"""

import re
from typing import Any, NamedTuple

from . import jose
from ..errors import ProtocolError
from .jsonfields import dump, get_optional_str, parse_object
from ..log import printable

VERSION = 1
MAX_REQUEST = 65536    # bytes of a signing input, without its line end
MAX_ANSWER = 8192      # bytes of each line the signer sends
ALGORITHMS = ("RS256", "ES256", "ES384")

_GREETING = re.compile(rb"([0-9]{1,4}) OK(?: (.*))?\Z", re.S)
# What may stand in an account URL: RFC 3986 characters only
_URL = re.compile(r"https://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,1024}\Z")

# Of our own messages: they should arrive as something better than “?”
_TYPOGRAPHY = str.maketrans({"“": '"', "”": '"', "’": "'", "…": "...", "§": "section "})


class Greeting(NamedTuple):
    """What the signer tells of its key."""

    alg: str                     # RS256, ES256 or ES384 (RFC 7518 §3.1)
    jwk: dict[str, Any]          # the public key; empty when a kid is configured
    thumbprint: str              # RFC 7638
    kid: str | None = None       # the account URL, if configured


class Refusal(ProtocolError):
    """The signer answered NOSIGN."""


class LineBuffer:
    """Cuts a stream of bytes into lines that end in CR LF, none longer than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self._scanned = 0   # no line ends before; bytes may come one at a time

    def feed(self, data: bytes) -> None:
        """Append what was read; raises ProtocolError if a line grows beyond the limit."""
        self._data += data
        if len(self._data) > self._limit + 2 and self._data.find(b"\r\n", self._scanned) < 0:
            raise ProtocolError(f"line longer than {self._limit} bytes")

    def next_line(self) -> bytes | None:
        """Return the next line without its end, or None if it isn't complete yet.

        Raises ProtocolError for a line that is too long or holds a bare CR or LF.
        """
        end = self._data.find(b"\r\n", self._scanned)
        if end < 0:
            self._scanned = max(0, len(self._data) - 1)
            return None
        line = bytes(self._data[:end])
        del self._data[:end + 2]
        self._scanned = 0
        if len(line) > self._limit:
            raise ProtocolError(f"line longer than {self._limit} bytes")
        if b"\n" in line or b"\r" in line:
            raise ProtocolError("line with a bare CR or LF")
        return line

    @property
    def pending(self) -> bool:
        """True if bytes of an unfinished line are left."""
        return bool(self._data)


def format_greeting(greeting: Greeting) -> bytes:
    """Return the two lines with which the signer opens each conversation."""
    extra: dict[str, Any] = {"alg": greeting.alg, "jwk-thumbprint": greeting.thumbprint}
    if greeting.kid is not None:
        extra["kid"] = greeting.kid
    jwk = {} if greeting.kid is not None else greeting.jwk
    return b"%d OK %s\r\n%s\r\n" % (VERSION, dump(extra), jose.canonical_json(jwk))


def parse_greeting(first: bytes, second: bytes) -> Greeting:
    """Parse the signer's two lines (without their ends); raises ProtocolError."""
    match = _GREETING.match(first)
    if match is None or int(match.group(1)) != VERSION:
        raise ProtocolError("the signer's greeting is not that of protocol version 1: "
                            f"“{printable(first.decode('latin-1'), 100)}”")
    jwk = parse_object(second, "the signer's public key", MAX_ANSWER)
    extra = (parse_object(match.group(2), "the signer's greeting", MAX_ANSWER)
             if match.group(2) else {})
    alg = get_optional_str(extra, "alg", 16) or "RS256"
    if alg not in ALGORITHMS:
        raise ProtocolError(f"the signer signs with the unknown algorithm “{printable(alg)}”")
    kid = get_optional_str(extra, "kid", 1024)
    if kid is not None and not _URL.match(kid):
        raise ProtocolError("the signer's kid is not an https URL")
    thumbprint = get_optional_str(extra, "jwk-thumbprint", 64)
    if not jwk and kid is None:
        raise ProtocolError("the signer gave neither a public key nor an account URL")
    if jwk:
        own = jose.thumbprint(jwk)
        if thumbprint not in (None, own):
            raise ProtocolError("the signer's thumbprint is not that of its public key")
        thumbprint = own
    if thumbprint is None or len(jose.decode(thumbprint.encode("ascii", "replace"))) != 32:
        raise ProtocolError("the signer gave no SHA-256 thumbprint of its key")
    return Greeting(alg, jwk, thumbprint, kid)


def format_request(signing_input: bytes) -> bytes:
    """Return the line that asks for a signature."""
    if len(signing_input) > MAX_REQUEST:
        raise ProtocolError(f"a signing input of more than {MAX_REQUEST} bytes")
    return signing_input + b"\r\n"


def format_signature(signature: bytes) -> bytes:
    """Return the line that answers with a signature."""
    return jose.encode(signature) + b"\r\n"


def format_refusal(reason: str) -> bytes:
    """Return the line that refuses to sign; only printable ASCII passes."""
    text = printable(reason.translate(_TYPOGRAPHY), 400).encode("ascii", "replace")
    return b"NOSIGN " + text + b"\r\n"


def parse_signature(line: bytes) -> bytes:
    """Parse the signer's answer: the signature.

    Raises Refusal with the signer's reason, ProtocolError for anything else.
    """
    if line == b"NOSIGN" or line.startswith(b"NOSIGN "):
        reason = printable(line[7:].decode("utf-8", "replace"), 500) or "no reason given"
        raise Refusal(f"the signer refused to sign: {reason}")
    signature = jose.decode(line)
    if not 32 <= len(signature) <= 1024:
        raise ProtocolError(f"a signature of {len(signature)} bytes from the signer")
    return signature
