"""HTTP/1.1 as pure functions: bytes in, values out, no I/O (RFC 9110, RFC 9112).

Only what an ACME client needs, and strict: the client reads one response for each
request it sent, every part of it capped, and whatever is ambiguous is refused.  (The
standard library's ``http.client`` imports the whole of ``email``, which more than doubles
the start-up time, and has no limit on the time a response takes.)
"""

import re
from typing import NamedTuple, Optional, Tuple

from ..common.errors import ProtocolError

MAX_HEAD = 32 << 10    # bytes of status line and header fields
MAX_FIELDS = 100       # header fields
MAX_CHUNK_LINE = 256   # bytes of a chunk-size line with its extensions

# status-line = HTTP-version SP status-code SP [ reason-phrase ] (RFC 9112 §4)
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\Z")
# field-line = field-name ":" OWS field-value OWS (§5); field-name is a token (RFC 9110 §5.6.2)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[\t ]*"
                    rb"((?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?)"
                    rb"[\t ]*\Z")
# chunk-size [ chunk-ext ] (RFC 9112 §7.1)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})(?:[\t ]*;[\t\x20-\x7e]*)?\Z")

Fields = Tuple[Tuple[str, str], ...]


class Response(NamedTuple):
    """A complete response; field names are in lower case."""

    status: int
    fields: Fields
    body: bytes
    keep: bool    # the connection may be used again (RFC 9112 §9.3)

    def get(self, name: str) -> Optional[str]:
        """Return the first field ``name`` (lower case), None if there is none."""
        return next((value for key, value in self.fields if key == name), None)

    def get_all(self, name: str) -> Tuple[str, ...]:
        """Return every field ``name`` (lower case)."""
        return tuple(value for key, value in self.fields if key == name)


def format_request(method: str, target: str, fields: Fields, body: Optional[bytes]) -> bytes:
    """Return the bytes of a request (RFC 9112 §3); the fields are the caller's, checked here.

    Raises ProtocolError if a value could break out of its line.
    """
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if not all(line.isascii() and line.isprintable() for line in lines) or " " in target:
        raise ProtocolError("a control character or non-ASCII letter in an HTTP request")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + (body or b"")


class ResponseReader:
    """Reads the response to one request of ``method``, its body at most ``limit`` bytes.

    ``feed`` what was received until it returns the response; ``eof`` when the peer closed.
    """

    def __init__(self, method: str, limit: int) -> None:
        self._method = method
        self._limit = limit
        self._data = bytearray()
        self._head: "Optional[tuple[int, int, Fields]]" = None   # version, status, fields
        self._length: Optional[int] = None    # of the body; None: chunked or until the end
        self._chunked = False
        self._chunk_left: Optional[int] = None    # None: a chunk-size line comes next
        self._trailer = False
        self._body = bytearray()
        self._received = 0

    @property
    def untouched(self) -> bool:
        """True if nothing at all was received."""
        return self._received == 0

    def feed(self, data: bytes) -> Optional[Response]:
        """Take what was received; return the response once it is complete.

        Raises ProtocolError if it is malformed or larger than allowed.
        """
        self._received += len(data)
        self._data += data
        while self._head is None:
            end = self._data.find(b"\r\n\r\n")
            if end > MAX_HEAD or (end < 0 and len(self._data) > MAX_HEAD):
                raise ProtocolError(f"an HTTP header of more than {MAX_HEAD} bytes")
            if end < 0:
                return None
            head = bytes(self._data[:end])
            del self._data[:end + 4]
            if self._received > 4 * MAX_HEAD + self._limit:
                raise ProtocolError("too many interim HTTP responses")
            self._parse_head(head)
        return self._read_body(self._head)

    def eof(self) -> Response:
        """The peer closed the connection: return the response if that is how it ends.

        Raises ProtocolError if it is truncated.
        """
        if self._head is None or self._chunked or self._length is not None:
            raise ProtocolError("the connection was closed in the middle of an HTTP response")
        return self._done(self._head, keep=False)

    def _parse_head(self, head: bytes) -> None:
        lines = head.split(b"\r\n")
        match = _STATUS_LINE.match(lines[0])
        if match is None:
            raise ProtocolError("not an HTTP/1.1 response")
        if len(lines) > MAX_FIELDS + 1:
            raise ProtocolError(f"an HTTP response with more than {MAX_FIELDS} header fields")
        fields = tuple(_parse_field(line) for line in lines[1:])
        version, status = int(match.group(1)), int(match.group(2))
        if status == 101:
            raise ProtocolError("an unexpected HTTP status 101")
        if status < 200:
            return    # interim response (RFC 9110 §15.2): the final one follows
        self._head = (version, status, fields)
        # Message body length (RFC 9112 §6.3)
        if (self._method == "HEAD" or status in (204, 304)
                or (self._method == "CONNECT" and status < 300)):
            self._length = 0
            return
        codings = [value.lower() for name, value in fields if name == "transfer-encoding"]
        lengths = {value for name, value in fields if name == "content-length"}
        if codings:
            if codings != ["chunked"] or lengths:
                raise ProtocolError("an HTTP response of ambiguous length")
            self._chunked = True
        elif lengths:
            length = lengths.pop()
            if lengths or not (length.isascii() and length.isdigit()) or len(length) > 12:
                raise ProtocolError("an HTTP response of ambiguous length")
            self._length = int(length)
            self._check_size(self._length)

    def _read_body(self, head: "tuple[int, int, Fields]") -> Optional[Response]:
        if self._chunked:
            return self._done(head) if self._read_chunks() else None
        self._check_size(len(self._body) + len(self._data)
                         if self._length is None else self._length)
        take = len(self._data) if self._length is None else self._length - len(self._body)
        self._body += self._data[:take]
        del self._data[:take]
        return self._done(head) if len(self._body) == self._length else None

    def _read_chunks(self) -> bool:
        """Move what is complete of the chunks into the body; True after the last one (§7.1)."""
        while True:
            if self._chunk_left:
                part = self._data[:self._chunk_left]
                self._body += part
                self._chunk_left -= len(part)
                del self._data[:len(part)]
                if self._chunk_left:
                    return False
            end = self._data.find(b"\r\n")
            if end > MAX_CHUNK_LINE or (end < 0 and len(self._data) > MAX_CHUNK_LINE + 1):
                raise ProtocolError("a malformed chunk in an HTTP response")
            if end < 0:
                return False
            line = bytes(self._data[:end])
            del self._data[:end + 2]
            if self._trailer:
                if line:
                    raise ProtocolError("an HTTP response with trailer fields")
                return True
            if self._chunk_left == 0:    # the CRLF after a chunk's data
                if line:
                    raise ProtocolError("a malformed chunk in an HTTP response")
                self._chunk_left = None
                continue
            match = _CHUNK_SIZE.match(line)
            if match is None:
                raise ProtocolError("a malformed chunk in an HTTP response")
            self._chunk_left = int(match.group(1), 16)
            self._check_size(len(self._body) + self._chunk_left)
            self._trailer = self._chunk_left == 0

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise ProtocolError(f"an HTTP response of more than {self._limit} bytes")

    def _done(self, head: "tuple[int, int, Fields]", keep: bool = True) -> Response:
        version, status, fields = head
        options = {option.strip().lower() for name, value in fields if name == "connection"
                   for option in value.split(",")}
        # Bytes beyond the response belong to no request: the connection is out of step.
        keep = keep and version == 1 and "close" not in options and not self._data
        return Response(status, fields, bytes(self._body), keep)


def _parse_field(line: bytes) -> "tuple[str, str]":
    match = _FIELD.match(line)
    if match is None:
        raise ProtocolError("a malformed HTTP header field")
    return match.group(1).decode("ascii").lower(), match.group(2).decode("latin-1")
