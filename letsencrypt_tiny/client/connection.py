"""One persistent connection to the server: http.client, and the limits that it lacks.

The standard library speaks HTTP.  Added here is what a hostile server calls for: a limit
on the time of a whole exchange (http.client's is for each recv), on the size of what is
received, and a body that ends too early is no body.  A redirect is an answer like any
other: never followed.
"""

import http.client
import socket
import ssl
import time
from typing import Any, NamedTuple

from ..common import log
from ..common.errors import ProtocolError
from ..common.urls import Proxy
from .eyeballs import Addresses, Unreachable
from .stream import MAX_HEAD, HTTPResponse, Timed, clean
from .transport import CutOff, NoAnswer, Route, TransportError, proxy_authorization

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

    @property
    def media_type(self) -> str:
        """What the body is said to be, in lower case, without parameters."""
        return (self.get("content-type") or "").split(";")[0].strip().lower()


class Connection(http.client.HTTPSConnection):
    """Opened when needed, through the proxy if there is one; reopened when it was closed."""

    response_class = HTTPResponse

    def __init__(self, route: Route, context: ssl.SSLContext, timeout: float,
                 addresses: Addresses | None = None) -> None:
        """``timeout``: seconds for one answer, connecting and TLS included; ``addresses``: those
        of the route, if other connections share what is learnt of them."""
        super().__init__(route.url.host, route.url.port, context=context)
        self._route = route
        self._tls = context
        self._seconds = timeout
        self._deadline = 0.0
        self._addresses = addresses or Addresses(route.addresses)
        self._timed: Timed | None = None       # the socket, as http.client has it
        if route.proxy is not None:
            authorization = proxy_authorization(route.proxy)
            self.set_tunnel(route.url.host, route.url.port,
                            {"Proxy-Authorization": authorization} if authorization else {})

    @property
    def is_open(self) -> bool:
        """True if the next request needs no new one."""
        return self.sock is not None

    def open(self, seconds: float) -> None:
        """Open it, if it isn't, for a request that is to come.  Raises as ``exchange``, after so
        many seconds if not before."""
        if self.is_open:
            return
        self._deadline = time.monotonic() + min(seconds, self._seconds)
        try:
            self._timed = self.sock = self._open()
        except BaseException as exc:
            self.close()
            self._translate(exc)
            raise

    def exchange(self, method: str, target: str, fields: Fields, body: bytes | None,
                 limit: int) -> Response:
        """Send a request and return its response, of at most ``limit`` bytes.

        A connection that the server has closed meanwhile, or on which something came that
        nobody asked for, is dropped before.  Nothing is sent twice (RFC 9112 §9.3.1): whether a
        request was heeded is for those to find out who know what it was about.  Raises
        TransportError, or ProtocolError for a malformed response.
        """
        self._deadline = time.monotonic() + self._seconds
        if self._timed is not None and self.sock is not None and not self._timed.quiet():
            self.close()
        try:
            return self._attempt(method, target, fields, body, limit)
        except BaseException as exc:
            self.close()
            self._translate(exc)
            raise

    def _translate(self, exc: BaseException) -> None:
        """Raise what the administrator should read in place of ``exc``, if it is known."""
        authority = self._route.url.authority
        if isinstance(exc, ssl.SSLCertVerificationError):
            raise TransportError(f"{authority}: the server's certificate is not trusted: "
                                 f"{exc.verify_message}") from exc
        if isinstance(exc, TimeoutError):
            raise NoAnswer(f"{authority}: no complete answer within {self._seconds:.0f} seconds "
                           "(setting “answer-timeout”)") from exc
        if isinstance(exc, (ConnectionError, ssl.SSLEOFError)):
            raise CutOff(f"{authority}: {log.printable(exc.strerror or exc, 300)}") from exc
        if isinstance(exc, OSError):
            raise TransportError(f"{authority}: {log.printable(exc.strerror or exc, 300)}"
                                 ) from exc
        if self._timed is not None and self._timed.ended and isinstance(
                exc, (http.client.HTTPException, ValueError)):
            raise self._cut_off() from exc
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
        timed = self._timed
        response = self.getresponse()
        if timed.ended:    # http.client takes that for the header's end
            raise self._cut_off()
        text = response.read(limit + 1)
        if len(text) > limit:
            raise ProtocolError(f"an HTTP response of more than {limit} bytes")
        if response.length:
            raise self._cut_off()
        result = Response(response.status, tuple((name.lower(), clean(value)) for name, value
                                                 in response.getheaders()), text)
        if response.will_close:
            self.close()
        return result

    def _cut_off(self) -> CutOff:
        return CutOff(f"{self._route.url.authority}: the connection was closed in the middle of "
                      "an HTTP response")

    def _open(self) -> Timed:
        """Connect, through the proxy if there is one, and do the TLS handshake."""
        plain, address = self._connect()
        try:
            # Nothing to gain from waiting for more (Nagle): see Timed.sendall
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._route.proxy is not None:
                self._pass_proxy(plain, self._route.proxy)
            plain.settimeout(max(0.001, self._deadline - time.monotonic()))
            sock = self._tls.wrap_socket(plain, server_hostname=self._route.url.host)
        except BaseException:
            plain.close()
            self._addresses.failed(address)
            raise
        self._addresses.worked(address)
        return Timed(sock, self._deadline)

    def _connect(self) -> tuple[socket.socket, Any]:
        try:
            return self._addresses.connect(self._deadline)
        except Unreachable as exc:
            via = "" if self._route.proxy is None else "the proxy for "
            raise TransportError(f"cannot connect to {via}{self._route.url.authority} "
                                 f"({exc})") from exc

    def _pass_proxy(self, plain: socket.socket, proxy: Proxy) -> None:
        """CONNECT (RFC 9110 §9.3.6); how to is http.client's knowledge."""
        self.sock = Timed(plain, self._deadline)
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
