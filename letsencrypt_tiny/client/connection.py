"""One persistent connection to the server: http.client, and the limits that it lacks.

The standard library speaks HTTP.  Added here is what a hostile server calls for: a limit
on the time of a whole exchange (http.client's is for each recv), on the size of what is
received, and a body that ends too early is no body.  A redirect is an answer like any
other: never followed.
"""

import http.client
import io
import socket
import ssl
import time
from typing import Any, NamedTuple

from ..common import log
from ..common.errors import ProtocolError
from ..common.urls import Proxy
from .transport import Route, TransportError, proxy_authorization

REQUEST_TIMEOUT = 30.0    # seconds for one request, connecting and TLS included
CONNECT_TIMEOUT = 10.0    # seconds for each address
MAX_HEAD = 64 << 10       # bytes received beyond the body: header, chunk sizes, trailers

Fields = tuple[tuple[str, str], ...]


class Response(NamedTuple):
    """A complete response; field names are in lower case."""

    status: int
    fields: Fields
    body: bytes

    def get(self, name: str) -> str | None:
        """Return the first field ``name`` (lower case), None if there is none."""
        return next((value for key, value in self.fields if key == name), None)

    def get_all(self, name: str) -> tuple[str, ...]:
        """Return every field ``name`` (lower case)."""
        return tuple(value for key, value in self.fields if key == name)


class Connection(http.client.HTTPSConnection):
    """Opened when needed, through the proxy if there is one; reopened when it was closed."""

    def __init__(self, route: Route, context: ssl.SSLContext,
                 timeout: float = REQUEST_TIMEOUT) -> None:
        super().__init__(route.url.host, route.url.port, context=context)
        self._route = route
        self._tls = context
        self._seconds = timeout
        self._deadline = 0.0
        self._timed: _Timed | None = None       # the socket, as http.client has it
        if route.proxy is not None:
            authorization = proxy_authorization(route.proxy)
            self.set_tunnel(route.url.host, route.url.port,
                            {"Proxy-Authorization": authorization} if authorization else {})

    def exchange(self, method: str, target: str, fields: Fields, body: bytes | None,
                 limit: int) -> Response:
        """Send a request and return its response, of at most ``limit`` bytes.

        A server may close an idle connection at any moment (RFC 9112 §9.3.1): if nothing at
        all came back on a used connection, the request is sent once more on a new one.  If
        it was answered after all, its nonce is used up and the server says so (§6.5 of
        RFC 8555).  Raises TransportError, or ProtocolError for a malformed response.
        """
        self._deadline = time.monotonic() + self._seconds
        reused = self.sock is not None
        while True:
            try:
                return self._attempt(method, target, fields, body, limit)
            except BaseException as exc:
                untouched = self._timed is not None and self._timed.received == 0
                self.close()
                if reused and untouched and isinstance(exc, OSError) \
                        and not isinstance(exc, TimeoutError):
                    reused = False
                    continue
                self._translate(exc)
                raise

    def _translate(self, exc: BaseException) -> None:
        """Raise what the administrator should read in place of ``exc``, if it is known."""
        authority = self._route.url.authority
        if isinstance(exc, ssl.SSLCertVerificationError):
            raise TransportError(f"{authority}: the server's certificate is not trusted: "
                                 f"{exc.verify_message}") from exc
        if isinstance(exc, TimeoutError):
            raise TransportError(f"{authority}: no complete answer within "
                                 f"{self._seconds:.0f} seconds") from exc
        if isinstance(exc, OSError):
            raise TransportError(f"{authority}: {log.printable(exc.strerror or exc, 300)}"
                                 ) from exc
        if isinstance(exc, (http.client.HTTPException, ValueError)):
            raise ProtocolError("not an HTTP response that makes sense: "
                                f"{log.printable(exc, 200) or type(exc).__name__}") from exc

    def _attempt(self, method: str, target: str, fields: Fields, body: bytes | None,
                 limit: int) -> Response:
        if self.sock is None or self._timed is None:
            self._timed = self.sock = self._open()
        self._timed.begin(self._deadline, limit + MAX_HEAD)
        self.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in fields:
            self.putheader(name, value)
        if body is not None:
            self.putheader("Content-Length", str(len(body)))
        self.endheaders(body)
        response = self.getresponse()
        text = response.read(limit + 1)
        if len(text) > limit:
            raise ProtocolError(f"an HTTP response of more than {limit} bytes")
        if response.length:
            raise ProtocolError("the connection was closed in the middle of an HTTP response")
        result = Response(response.status, tuple((name.lower(), value) for name, value
                                                 in response.getheaders()), text)
        if response.will_close:
            self.close()
        return result

    def _open(self) -> "_Timed":
        """Connect, through the proxy if there is one, and do the TLS handshake."""
        plain = self._connect()
        try:
            # Nothing to gain from waiting for more (Nagle): see _Timed.sendall
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._route.proxy is not None:
                self._pass_proxy(plain, self._route.proxy)
            plain.settimeout(max(0.001, self._deadline - time.monotonic()))
            return _Timed(self._tls.wrap_socket(plain, server_hostname=self._route.url.host),
                          self._deadline)
        except BaseException:
            plain.close()
            raise

    def _connect(self) -> socket.socket:
        failures: list[str] = []
        for family, kind, protocol, _, address in self._route.addresses:
            sock = None
            try:
                sock = socket.socket(family, kind, protocol)
                remaining = self._deadline - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError("timed out")
                sock.settimeout(min(CONNECT_TIMEOUT, remaining))
                sock.connect(address)
                return sock
            except OSError as exc:
                if sock is not None:
                    sock.close()
                failures.append(f"{address[0]}: {exc.strerror or exc}")
        via = "" if self._route.proxy is None else "the proxy for "
        raise TransportError(f"cannot connect to {via}{self._route.url.authority} "
                             f"({'; '.join(failures)})")

    def _pass_proxy(self, plain: socket.socket, proxy: Proxy) -> None:
        """CONNECT (RFC 9110 §9.3.6); how to is http.client's knowledge."""
        self.sock = _Timed(plain, self._deadline)
        try:
            self._tunnel()   # type: ignore[attr-defined]
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as exc:
            hint = " (user name or password?)" if " 407 " in f"{exc} " else ""
            raise TransportError(f"the proxy {proxy.host}:{proxy.port}: "
                                 f"{log.printable(exc, 300)}{hint}") from exc
        finally:
            self.sock = None


class _Timed:
    """A socket all of whose operations must be done by a moment, and receive so much at most.

    http.client takes it for the socket, and reads a response from what ``makefile`` gives.
    As with a socket, what is closed while a response is being read closes with the response.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._readers = 0
        self._closed = False
        self.begin(deadline, MAX_HEAD)

    def begin(self, deadline: float, limit: int) -> None:
        """A new exchange begins: until ``deadline`` (time.monotonic), of ``limit`` bytes."""
        self._deadline = deadline
        self._limit = limit
        self._unsent = b""
        self.received = 0    # bytes

    def _hurry(self) -> None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)

    def sendall(self, data: bytes) -> None:
        """Keep ``data``: header and body leave in one write, when the response is awaited."""
        self._unsent += data

    def receive(self, buffer: Any) -> int:
        """Receive once into ``buffer``; raises TimeoutError, also against one byte a second."""
        if self._unsent:
            self._hurry()
            self._sock.sendall(self._unsent)
            self._unsent = b""
        self._hurry()
        count = self._sock.recv_into(buffer)
        self.received += count
        if self.received > self._limit:
            raise ProtocolError(f"an HTTP response of more than {self._limit} bytes")
        return count

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return a stream for one response."""
        self._readers += 1
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Close the socket, as soon as no response is being read."""
        self._closed = True
        if not self._readers:
            self._sock.close()

    def release(self) -> None:
        """A stream that ``makefile`` gave is closed."""
        self._readers -= 1
        if self._closed:
            self.close()


class _Reader(io.RawIOBase):
    """What is received on a ``_Timed``."""

    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Receive once."""
        return self._timed.receive(buffer)

    def close(self) -> None:
        """Leave the connection to the next response."""
        if not self.closed:
            super().close()
            self._timed.release()
