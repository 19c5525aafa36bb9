"""HTTP/1.1 as far as an ACME client needs it (RFC 9110, RFC 9112): a request out, a response in.

Why not http.client: it parses each header with the email package, which takes 15 ms to load and
then is half of what an answer costs, and takes for a good response what has two lengths or none
that can be read.  A § alone is one of RFC 9112.
"""

import re
from typing import NamedTuple

from ..common.errors import LocalProtocolError, ProtocolError
from .stream import Ended, Timed

MAX_FIELDS = 100
# Values are text of ISO 8859-1, without the white space around them (RFC 9110 §5.5)
Fields = tuple[tuple[str, str], ...]

_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9])[ \t]+([1-9][0-9][0-9])(?:[ \t]|\Z)")
# No server has to put white space before the colon, and none gains by it (§5.1)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:([^\0\r]*)\Z")
_FOLDED = re.compile(rb"[ \t][^\0\r]*\Z")
_LENGTH = re.compile(r"[0-9]{1,15}\Z")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;|\Z)")


class Message(NamedTuple):
    """A response as it was received; field names are in lower case."""

    status: int
    fields: Fields
    body: bytes
    persists: bool      # whether another request may follow on the connection (§9.3)


def request(method: str, target: str, fields: Fields, body: bytes | None = None) -> bytes:
    """Return a request (§3), with the length of its body if it has one.

    Raises LocalProtocolError for what would be more than the one.
    """
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    if not all(map(str.isprintable, lines)) or " " in target:
        raise LocalProtocolError("an HTTP request with control characters, or a space in its URL")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def receive(stream: Timed, method: str, most: int) -> Message:
    """Receive the response to a request of that method; of a body no more than ``most`` bytes,
    after which the connection is of no use.

    Interim responses before it are passed over (RFC 9110 §15.2), but for 101, after which the
    connection speaks something else.  Raises ProtocolError if it makes no sense, Ended if it is
    not complete, and whatever the socket raises.
    """
    status = 100
    while 100 <= status < 200 and status != 101:
        minor, status = _status_line(stream)
        fields = _fields(stream)
    body, whole = _body(stream, method, status, fields, most)
    options = _words(fields, "connection")
    persists = "keep-alive" in options if minor == 0 else "close" not in options
    return Message(status, fields, body, whole and persists and status != 101)


def tunnel(stream: Timed, authority: str, authorization: str | None) -> int:
    """Have a proxy connect to a host and port (RFC 9110 §9.3.6); return the status it answers.

    It is a tunnel if that is one of success.  Raises as ``receive``.
    """
    fields: Fields = (("Host", authority),)
    if authorization:
        fields += (("Proxy-Authorization", authorization),)
    stream.send(request("CONNECT", authority, fields))
    _, status = _status_line(stream)
    _fields(stream)
    if status < 300 and not stream.empty:
        raise ProtocolError("it sends more than the answer")
    return status


def _status_line(stream: Timed) -> tuple[int, int]:
    """Read the minor version and the status (§4)."""
    try:
        match = _STATUS_LINE.match(stream.line())
    except Ended as exc:
        if exc.left[:7] == b"HTTP/1."[:len(exc.left)]:
            raise
        match = None    # whatever it would have become
    if match is None:
        raise ProtocolError("its status line is none")
    return int(match.group(1)), int(match.group(2))


def _fields(stream: Timed) -> Fields:
    """Read the header up to its end (§5)."""
    found: list[tuple[str, bytes]] = []
    lines = stream.lines(MAX_FIELDS + 1)
    if len(lines) > MAX_FIELDS:
        raise ProtocolError(f"more than {MAX_FIELDS} header fields")
    for line in lines:
        if line[:1] in (b" ", b"\t"):    # §5.2: of a line that was folded one is made
            if not found or not _FOLDED.match(line):
                raise ProtocolError("a header field is malformed")
            name, value = found[-1]
            found[-1] = name, value.rstrip() + b" " + line.strip()
            continue
        match = _FIELD.match(line)
        if match is None:
            raise ProtocolError("a header field is malformed")
        found.append((match.group(1).decode("ascii").lower(), match.group(2)))
    return tuple((name, value.strip(b" \t").decode("latin-1")) for name, value in found)


def _words(fields: Fields, name: str) -> list[str]:
    """Return the elements of the lists that fields of that name hold (RFC 9110 §5.6.1)."""
    return [word for key, value in fields if key == name
            for item in value.lower().split(",") if (word := item.strip(" \t"))]


def _body(stream: Timed, method: str, status: int, fields: Fields, most: int
          ) -> tuple[bytes, bool]:
    """Read the body (§6.3); return it, and whether its end was seen before the connection's."""
    if method == "HEAD" or status in (204, 304) or status < 200:
        return b"", True
    codings = _words(fields, "transfer-encoding")
    if codings:
        if codings != ["chunked"]:
            raise ProtocolError("a transfer coding that nobody asked for")
        return _chunks(stream, most, _words(fields, "content-length") == [])
    lengths = {item.strip(" \t") for name, value in fields if name == "content-length"
               for item in value.split(",")}
    if not lengths:
        return stream.rest(most), False
    length = lengths.pop()
    if lengths or not _LENGTH.match(length):
        raise ProtocolError("its length is none, or two")
    return stream.take(min(int(length), most)), int(length) <= most


def _chunks(stream: Timed, most: int, persists: bool) -> tuple[bytes, bool]:
    """Read a body in chunks (§7.1); what follows the last of them is of no interest.

    A length besides them is ignored, and the connection not used again (§6.3).
    """
    body = bytearray()
    while True:
        match = _CHUNK_SIZE.match(stream.line())
        if match is None:
            raise ProtocolError("the size of a chunk is none")
        size = int(match.group(1), 16)
        if not size:
            break
        body += stream.take(min(size, most - len(body)))
        if len(body) == most:
            return bytes(body), False
        if stream.line():
            raise ProtocolError("a chunk that has not its size")
    while stream.line():
        pass
    return bytes(body), persists
