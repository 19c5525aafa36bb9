"""Client <-> signer: the messages of one conversation, for both ends.

Wire-compatible with lacme-accountd(1), protocol version 1; lines end in CR LF::

    S: 1 OK {"alg":"RS256","jwk-thumbprint":"…"[,"kid":"…"][,"refusals":true]}
    S: {"e":"AQAB","kty":"RSA","n":"…"}            ({} when a kid was configured)
    C: BASE64URL(protected header) "." BASE64URL(payload)
    S: BASE64URL(signature)                         (repeat)

An old signer greets with ``1 OK`` alone.  Old clients take any line for a signature and hand it
to the CA, so a request that is refused ends their conversation without a word.  What follows
is for two that both know better, the signer by ``refusals`` and the client by its first line::

    C: NOSIGN                                       (no answer)
    C: BASE64URL(protected header) "." BASE64URL(payload)
    S: NOSIGN reason                                (and the conversation goes on)
    C: EXPLAIN BASE64URL(protected header) "." BASE64URL(payload)
    S: OK                                           (or NOSIGN reason; nothing is signed)

Refusals and explanations are MAX_REFUSALS at most.  A signer of an earlier version says NOSIGN
to everybody, and hangs up.

Two more members of the first line: ``"eab":{KID:ALG,…}`` names the external accounts whose MAC
keys the signer has, for which a signing input in the form of ``inner.binding`` is answered with
its MAC; ``"next":{"alg":…,"jwk":…}`` is a key that is to take the place of this one (RFC 8555
§7.3.5), by which a line is signed that begins so::

    C: NEXT BASE64URL(protected header) "." BASE64URL(payload)

Pure functions and one buffer: no I/O here.
"""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from . import inner, jose
from .. import urls
from ..errors import LocalProtocolError, ProtocolError
from ..log import printable
from ..names import Identifier
from .jsonfields import (JsonObject, dump, get_optional_object, get_optional_str, get_str,
                         get_object, parse_object)

VERSION = 1
MAX_REQUEST = 65536    # bytes of a signing input, without its line end
MAX_LINE = MAX_REQUEST + len(b"EXPLAIN ")   # bytes of each line the client sends
MAX_ANSWER = 8192      # bytes of each line the signer sends
MAX_REFUSALS = 10_000  # and explanations, after which the signer hangs up
ALGORITHMS = ("RS256", "ES256", "ES384")

_GREETING = re.compile(rb"([0-9]{1,4}) OK(?: (.*))?\Z", re.S)
_NOSIGN, _EXPLAIN, _NEXT, _OK = b"NOSIGN", b"EXPLAIN ", b"NEXT ", b"OK"

# Of our own messages: they should arrive as something better than “?”
_TYPOGRAPHY = str.maketrans({"“": '"', "”": '"', "’": "'", "…": "...", "§": "section "})


class NextKey(NamedTuple):
    """The key that is to take the account key's place."""

    alg: str
    jwk: JsonObject
    thumbprint: str


class Greeting(NamedTuple):
    """What the signer tells of its key."""

    alg: str                     # RS256, ES256 or ES384 (RFC 7518 §3.1)
    jwk: dict[str, Any]          # the public key; empty when a kid is configured
    thumbprint: str              # RFC 7638
    kid: str | None = None       # the account URL, if configured
    refusals: bool = False       # it goes on after a refusal, with who says to know NOSIGN
    bindings: tuple[tuple[str, str], ...] = ()   # KID and algorithm of external accounts
    next: NextKey | None = None
    old: JsonObject | None = None    # the public key that this one is to take the place of

    def as_next(self) -> "Greeting | None":
        """Return what holds for requests that are signed by the next key, if there is one."""
        if self.next is None:
            return None
        return Greeting(*self.next, refusals=self.refusals, old=self.jwk)


class Refusal(ProtocolError):
    """The signer answered NOSIGN.  The reason is the message's end."""


class LineBuffer:
    """Cuts a stream of bytes into lines that end in CR LF, none longer than ``limit`` bytes."""

    __slots__ = ("_limit", "_data", "_scanned")

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
        if not self.complete:
            return None
        end = self._scanned
        line = bytes(self._data[:end])
        del self._data[:end + 2]
        self._scanned = 0
        if len(line) > self._limit:
            raise ProtocolError(f"line longer than {self._limit} bytes")
        if b"\n" in line or b"\r" in line:
            raise ProtocolError("line with a bare CR or LF")
        return line

    @property
    def complete(self) -> bool:
        """True if there is a line to take, or what is none though it ends like one."""
        end = self._data.find(b"\r\n", self._scanned)
        self._scanned = max(0, len(self._data) - 1) if end < 0 else end
        return end >= 0

    @property
    def pending(self) -> int:
        """How many bytes of lines that nobody has taken are left."""
        return len(self._data)


def format_greeting(greeting: Greeting) -> bytes:
    """Return the two lines with which the signer opens each conversation."""
    extra: dict[str, Any] = {"alg": greeting.alg, "jwk-thumbprint": greeting.thumbprint}
    if greeting.kid is not None:
        extra["kid"] = greeting.kid
    if greeting.refusals:
        extra["refusals"] = True
    if greeting.bindings:
        extra["eab"] = dict(greeting.bindings)
    if greeting.next is not None:
        extra["next"] = {"alg": greeting.next.alg, "jwk": greeting.next.jwk}
    jwk = {} if greeting.kid is not None else greeting.jwk
    return b"%d OK %s\r\n%s\r\n" % (VERSION, dump(extra), jose.canonical_json(jwk))


def parse_greeting(first: bytes, second: bytes) -> Greeting:
    """Parse the signer's two lines (without their ends); raises ProtocolError."""
    match = _GREETING.match(first)
    if match is None or int(match.group(1)) != VERSION:
        raise ProtocolError("the account key manager's greeting is not that of protocol version 1: "
                            f"“{printable(first.decode('latin-1'), 100)}”")
    jwk = parse_object(second, "the account key manager's public key", MAX_ANSWER)
    extra = (parse_object(match.group(2), "the account key manager's greeting", MAX_ANSWER)
             if match.group(2) else {})
    alg = get_optional_str(extra, "alg", 16) or "RS256"
    if alg not in ALGORITHMS:
        raise ProtocolError("the account key manager signs with the unknown algorithm "
                            f"“{printable(alg)}”")
    kid = get_optional_str(extra, "kid", urls.MAX_URL)
    if kid is not None:
        try:
            urls.parse(kid)
        except ValueError as exc:
            raise ProtocolError(f"the account key manager's kid is {exc}") from exc
    thumbprint = get_optional_str(extra, "jwk-thumbprint", 64)
    if not jwk and kid is None:
        raise ProtocolError("the account key manager gave neither a public key nor an account URL")
    if jwk:
        own = jose.thumbprint(jwk)
        if thumbprint not in (None, own):
            raise ProtocolError("the account key manager's thumbprint is not that of its public "
                                "key")
        thumbprint = own
    if thumbprint is None or len(jose.decode(thumbprint.encode("ascii", "replace"))) != 32:
        raise ProtocolError("the account key manager gave no SHA-256 thumbprint of its key")
    return Greeting(alg, jwk, thumbprint, kid, extra.get("refusals") is True,
                    _parse_bindings(extra), _parse_next(extra))


def _parse_bindings(extra: JsonObject) -> tuple[tuple[str, str], ...]:
    """Those of a kind that is known here: a signer may be newer."""
    found = get_optional_object(extra, "eab") or {}
    return tuple((kid, alg) for kid, alg in found.items()
                 if inner.is_kid(kid) and alg in inner.MAC_ALGORITHMS)


def _parse_next(extra: JsonObject) -> NextKey | None:
    found = get_optional_object(extra, "next")
    if found is None:
        return None
    alg, jwk = get_str(found, "alg", 16), get_object(found, "jwk")
    if alg not in ALGORITHMS:
        raise ProtocolError("the account key manager's next key is for the unknown algorithm "
                            f"“{printable(alg)}”")
    return NextKey(alg, jwk, jose.thumbprint(jwk))


def format_hello() -> bytes:
    """Return the first line of a client that knows what NOSIGN is."""
    return _NOSIGN + b"\r\n"


def is_hello(line: bytes) -> bool:
    """True if a client's first line says that it knows what NOSIGN is."""
    return line == _NOSIGN


def format_request(signing_input: bytes, by_next: bool = False) -> bytes:
    """Return the line that asks for a signature, ``by_next``: of the next key; raises
    LocalProtocolError."""
    if len(signing_input) > MAX_REQUEST:
        raise LocalProtocolError(f"a signing input of more than {MAX_REQUEST} bytes")
    return (_NEXT if by_next else b"") + signing_input + b"\r\n"


def parse_next(line: bytes) -> bytes | None:
    """Return the signing input that the next key is to sign; None if it is none of its."""
    return line[len(_NEXT):] if line.startswith(_NEXT) else None


def format_signature(signature: bytes) -> bytes:
    """Return the line that answers with a signature."""
    return jose.encode(signature) + b"\r\n"


def format_refusal(reason: str) -> bytes:
    """Return the line that refuses to sign; only printable ASCII passes."""
    text = printable(reason.translate(_TYPOGRAPHY), 400).encode("ascii", "replace")
    return b"%s %s\r\n" % (_NOSIGN, text)


def parse_signature(line: bytes) -> bytes:
    """Parse the signer's answer: the signature.

    Raises Refusal with the signer's reason, ProtocolError for anything else.
    """
    reason = _parse_refusal(line)
    if reason is not None:
        raise Refusal(f"the account key manager refused to sign: {reason}")
    signature = jose.decode(line)
    if not 32 <= len(signature) <= 1024:
        raise ProtocolError(f"a signature of {len(signature)} bytes from the account key manager")
    return signature


def _parse_refusal(line: bytes) -> str | None:
    if line != _NOSIGN and not line.startswith(_NOSIGN + b" "):
        return None
    return printable(line[len(_NOSIGN) + 1:].decode("utf-8", "replace"), 500) or "no reason given"


def format_explain(signing_input: bytes) -> bytes:
    """Return the line that asks what would become of a request; raises LocalProtocolError."""
    return _EXPLAIN + format_request(signing_input)


def parse_explain(line: bytes) -> bytes | None:
    """Return the signing input that a line asks about; None if it asks for a signature."""
    return line[len(_EXPLAIN):] if line.startswith(_EXPLAIN) else None


def format_explanation(why: str) -> bytes:
    """Return the line that answers it: why the request would be refused, "" if it would not."""
    return format_refusal(why) if why else _OK + b"\r\n"


def parse_explanation(line: bytes) -> str:
    """Return why the signer would refuse a request, "" if it would sign; raises ProtocolError."""
    reason = "" if line == _OK else _parse_refusal(line)
    if reason is None:
        raise ProtocolError("the account key manager does not explain itself: "
                            f"“{printable(line.decode('latin-1'), 100)}”")
    return reason


def explanations(greeting: Greeting, origin: str, identifiers: Iterable[Identifier], csr: bytes,
                 profile: str | None = None) -> list[bytes]:
    """Return the lines that ask about an order's requests: newOrder and finalize (RFC 8555 §7.4).

    They are as a client would send them to a server of ``origin``, but for what only the server
    knows: nonce, paths, and the account's URL if the signer does not tell it.  Raises
    LocalProtocolError.
    """
    order: JsonObject = {"identifiers": [{"type": kind, "value": value}
                                         for kind, value in identifiers]}
    if profile is not None:
        order["profile"] = profile
    lines = []
    for path, payload in (("new-order", order), ("finalize", {"csr": jose.encode_text(csr)})):
        header = {"alg": greeting.alg, "nonce": "explain", "url": f"{origin}/{path}",
                  "kid": greeting.kid or f"{origin}/account"}
        lines.append(format_explain(jose.signing_input(dump(header), dump(payload))))
    return lines
