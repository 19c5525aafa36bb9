"""What http.client takes for a socket and a response, with the limits that it lacks.

A moment by which all must be done, a limit on what is received, and what is received beyond the
answer that was asked for is nobody's.
"""

import http.client
import io
import re
import socket
import ssl
import time
from typing import Any

from ..common.errors import ProtocolError

MAX_HEAD = 64 << 10       # bytes received beyond the body: header, chunk sizes, trailers

_FOLD = re.compile(r"\r?\n[ \t]+")


class Timed:
    """A socket all of whose operations must be done by a moment, and receive so much at most.

    http.client takes it for the socket, and reads a response from what ``makefile`` gives.
    As with a socket, what is closed while a response is being read closes with the response.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._readers = 0
        self._closed = False
        self._stream = _Stream(_Reader(self))
        self.begin(deadline, MAX_HEAD)

    def begin(self, deadline: float, limit: int) -> None:
        """A new exchange begins: until ``deadline`` (time.monotonic), of ``limit`` bytes."""
        self._deadline = deadline
        self._limit = limit
        self._unsent = b""
        self.received = 0    # bytes
        self.ended = False   # nothing more will come
        self.idle = False    # nothing is to be waited for

    def _hurry(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)

    def sendall(self, data: bytes) -> None:
        """Keep ``data``: header and body leave in one write, when the response is awaited."""
        self._unsent += data

    def receive(self, buffer: Any) -> int | None:
        """Receive once into ``buffer``; raises TimeoutError, also against one byte a second."""
        if self.idle:
            return None
        if self._unsent:
            self._hurry()
            self._sock.sendall(self._unsent)
            self._unsent = b""
        self._hurry()
        count = self._sock.recv_into(buffer)
        self.received += count
        self.ended = not count
        if self.received > self._limit:
            raise ProtocolError(f"an HTTP response of more than {self._limit} bytes")
        return count

    def quiet(self) -> bool:
        """True if nothing came, and nothing is there, that no request asked for."""
        self.idle = True
        if self._stream.peek(1):
            return False
        try:
            self._sock.settimeout(0)
            self._sock.recv(1)    # something unasked for, or the end
            return False
        except OSError as exc:    # of TLS, or a plain socket's
            return isinstance(exc, (ssl.SSLWantReadError, BlockingIOError))

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the stream for one response: what it leaves unread can be seen afterwards."""
        self._readers += 1
        return self._stream

    def close(self) -> None:
        """Close the socket, as soon as no response is being read."""
        self._closed = True
        if not self._readers:
            self._sock.close()

    def release(self) -> None:
        """A response that read from what ``makefile`` gave is done."""
        self._readers = max(0, self._readers - 1)
        if self._closed:
            self.close()


class _Reader(io.RawIOBase):
    """What is received on a ``Timed``."""

    def __init__(self, timed: Timed) -> None:
        self.timed = timed

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Receive once."""
        return self.timed.receive(buffer)


class _Stream(io.BufferedReader):
    """One for all responses of a connection; a response that closes it leaves it to the next."""

    raw: _Reader

    def close(self) -> None:
        """Leave the connection to the next response."""
        self.raw.timed.release()


class HTTPResponse(http.client.HTTPResponse):
    """A response of a real server's: interim ones before it, white space around values."""

    def _read_status(self) -> tuple[str, int, str]:
        """Any 1xx is passed over as http.client does with 100 (RFC 9110 §15.2), but for 101,
        after which the connection speaks something else."""
        version, status, reason = super()._read_status()    # type: ignore[misc]
        return version, 100 if 100 < status < 200 and status != 101 else status, reason

    def begin(self) -> None:
        """Read the header; white space at the end of a value is none of it (RFC 9112 §5.1)."""
        super().begin()
        coding = clean(self.headers.get("transfer-encoding") or "")
        if coding.lower() == "chunked" and not self.chunked:
            self.chunked = True
            self.chunk_left = None
            self.length = None
            self.will_close = self._check_close()    # type: ignore[attr-defined]

    def flush(self) -> None:
        """Nothing is ever written; the finalizer would flush a stream that is closed by then."""


def clean(value: str) -> str:
    """Return a field's value without what surrounds it (RFC 9110 §5.5), on one line."""
    return _FOLD.sub(" ", value).strip(" \t\r\n")
