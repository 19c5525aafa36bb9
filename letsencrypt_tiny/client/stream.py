"""A socket on which one exchange after another keeps to its limits.

A moment by which all must be done, a limit on what is received, and what is received beyond the
answer that was asked for is nobody's.
"""

import socket
import ssl
import time

from ..common.errors import ProtocolError

MAX_HEAD = 64 << 10       # bytes received beyond the body: header, chunk sizes, trailers
_PIECE = 16 << 10         # bytes received at once: a TLS record's (RFC 8446 §5.1)


class Ended(ConnectionError):
    """The peer closed the connection where more of an answer must come; ``left``: what of the
    line had come."""

    def __init__(self, left: bytes = b"") -> None:
        super().__init__("the connection was closed in the middle of an HTTP response")
        self.left = left


class Timed:
    """A socket all of whose operations must be done by a moment, and receive so much at most."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._buffer = bytearray()
        self.begin(deadline, MAX_HEAD)

    def begin(self, deadline: float, limit: int) -> None:
        """A new exchange begins: until ``deadline`` (time.monotonic), of ``limit`` bytes."""
        self._deadline = deadline
        self._left = limit

    def _hurry(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)

    def send(self, data: bytes) -> None:
        """Send ``data``, header and body in one write; raises TimeoutError."""
        self._hurry()
        self._sock.sendall(data)

    def _receive(self) -> bool:
        """Receive once; False at the end.  Raises TimeoutError, also against one byte a second,
        and ProtocolError beyond the limit."""
        self._hurry()
        data = self._sock.recv(min(_PIECE, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            raise ProtocolError("it is too long")
        self._buffer += data
        return bool(data)

    def line(self) -> bytes:
        """Return the next line without CRLF or LF (RFC 9112 §2.2); raises Ended, and as above."""
        start = 0
        while (end := self._buffer.find(b"\n", start)) < 0:
            start = len(self._buffer)
            if not self._receive():
                raise Ended(bytes(self._buffer))
        line = bytes(self._buffer[:end])
        del self._buffer[:end + 1]
        return line.removesuffix(b"\r")

    def lines(self, most: int) -> list[bytes]:
        """Return the lines up to an empty one, which is taken with them, or so many, the others
        being left; raises as ``line``."""
        found: list[bytes] = []
        begin = seen = 0    # of a line; of what is known to hold no end of it
        while True:
            end = self._buffer.find(b"\n", seen)
            if end < 0:
                seen = len(self._buffer)
                if not self._receive():
                    raise Ended(bytes(self._buffer[begin:]))
                continue
            line = bytes(self._buffer[begin:end]).removesuffix(b"\r")
            begin = seen = end + 1
            if line:
                found.append(line)
            if not line or len(found) == most:
                del self._buffer[:begin]
                return found

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes; raises Ended, and as above."""
        while len(self._buffer) < size:
            if not self._receive():
                raise Ended
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def rest(self, most: int) -> bytes:
        """Return what comes until the peer closes, of that at most so many bytes."""
        while len(self._buffer) < most and self._receive():
            pass
        return bytes(self._buffer[:most])

    def quiet(self) -> bool:
        """True if nothing came, and nothing is there, that no request asked for."""
        if self._buffer:
            return False
        try:
            self._sock.settimeout(0)
            self._sock.recv(1)    # something unasked for, or the end
            return False
        except OSError as exc:    # of TLS, or a plain socket's
            return isinstance(exc, (ssl.SSLWantReadError, BlockingIOError))

    @property
    def empty(self) -> bool:
        """True if nothing was received that has not been taken."""
        return not self._buffer

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()
