"""The ClientHello, as far as it tells who asks for what (RFC 8446 §4.1.2; TLS 1.2's is the same).

Pure: bytes as they came in, the name and the protocols that are asked for out.  It is read before
anything of TLS is begun, so that OpenSSL only ever sees validations of challenges.

Linear in its input, which is bounded; all that comes out of what is malformed is Alert.
"""

from typing import NamedTuple

from ..common.names import MAX_NAME

PROTOCOL = b"acme-tls/1"   # RFC 8737 §4
MAX_HELLO = 16384          # bytes of a ClientHello; with keys of post-quantum exchanges it has 2 kB
MAX_RECORDS = 128          # that it may be spread over
MAX_BYTES = MAX_HELLO + 5 * MAX_RECORDS   # more is never waited for

# AlertDescription (RFC 8446 §6)
UNEXPECTED_MESSAGE, RECORD_OVERFLOW, DECODE_ERROR = 10, 22, 50
UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 112, 120

_HANDSHAKE, _CLIENT_HELLO = 22, 1
_MAX_RECORD = 16384        # §5.1
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0             # NameType (RFC 6066 §3)


class Alert(Exception):
    """Nothing that we answer: a fatal alert ends the connection."""

    def __init__(self, description: int) -> None:
        super().__init__(f"alert {description}")
        self.description = description

    def record(self) -> bytes:
        """Return it as it is sent, in the clear: alert(21), version 1.2, fatal(2) (§5.1, §6)."""
        return bytes([21, 3, 3, 0, 2, 2, self.description])


class Hello(NamedTuple):
    """What a client says of itself."""

    server_name: str                # in lower case; "" if it names none
    protocols: tuple[bytes, ...]    # that it speaks, as it prefers them


def parse(data: bytes) -> Hello | None:
    """Read the ClientHello that begins a connection; None as long as more of it must come.

    Raises Alert for what can't become one.  What follows it isn't looked at.
    """
    message = _message(data)
    return None if message is None else _client_hello(_Reader(message))


def _message(data: bytes) -> bytes | None:
    """Put the fragments of the first handshake message together (§5.1); return its body."""
    message, at, records = b"", 0, 0
    while at < len(data):
        records += 1
        if data[at] != _HANDSHAKE or data[at + 1:at + 2] not in (b"", b"\3"):
            raise Alert(UNEXPECTED_MESSAGE)
        if len(data) < at + 5:
            break
        size = int.from_bytes(data[at + 3:at + 5], "big")
        if not 1 <= size <= _MAX_RECORD:
            raise Alert(DECODE_ERROR if size == 0 else RECORD_OVERFLOW)
        message += data[at + 5:at + 5 + size]
        if message[:1] not in (b"", b"\1"):
            raise Alert(UNEXPECTED_MESSAGE)
        length = 4 + int.from_bytes(message[1:4], "big")
        if len(message) >= 4 and length > MAX_HELLO:
            raise Alert(DECODE_ERROR)
        if 4 <= length <= len(message):
            return message[4:length]
        at += 5 + size
        if records == MAX_RECORDS:
            raise Alert(DECODE_ERROR)
    return None


class _Reader:
    """Takes vectors (§3.4) off the front of bytes; raises Alert beyond their end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        start, self._at = self._at, self._at + size
        if self._at > len(self._data):
            raise Alert(DECODE_ERROR)
        return self._data[start:self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """Return a vector whose length stands before it in ``size`` octets."""
        return self.take(self.number(size))

    def only(self, size: int) -> "_Reader":
        """Return a reader of a vector that is all there is."""
        inner = _Reader(self.vector(size))
        if self:
            raise Alert(DECODE_ERROR)
        return inner


def _client_hello(body: _Reader) -> Hello:
    body.take(2 + 32)   # legacy_version, random
    body.vector(1)      # legacy_session_id
    body.vector(2)      # cipher_suites
    body.vector(1)      # legacy_compression_methods
    found: dict[int, bytes] = {}
    extensions = body.only(2) if body else body
    while extensions:
        kind, content = extensions.number(2), extensions.vector(2)
        if found.setdefault(kind, content) is not content:   # §4.2: of each but one
            raise Alert(DECODE_ERROR)
    return Hello(_server_name(found.get(_SERVER_NAME)), _protocols(found.get(_ALPN)))


def _server_name(content: bytes | None) -> str:
    """Return the one name of a ServerNameList (RFC 6066 §3)."""
    if content is None:
        return ""
    names = _Reader(content).only(2)
    if names.number(1) != _HOST_NAME:
        raise Alert(DECODE_ERROR)
    name = names.vector(2)
    if names or not 1 <= len(name) <= MAX_NAME or not name.isascii():
        raise Alert(DECODE_ERROR)
    return name.decode("ascii").lower()


def _protocols(content: bytes | None) -> tuple[bytes, ...]:
    """Return the names of a ProtocolNameList (RFC 7301 §3.1)."""
    if content is None:
        return ()
    names = _Reader(content).only(2)
    found = []
    while names:
        found.append(names.vector(1))
    if not found or b"" in found:
        raise Alert(DECODE_ERROR)
    return tuple(found)
