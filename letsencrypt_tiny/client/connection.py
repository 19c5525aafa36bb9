"""One persistent connection to the server: HTTP/1.1 (``http``), and limits for a hostile one.

A limit on the time of a whole exchange, on the size of what is received, and a body that ends too
early is no body.  A redirect is an answer like any other: never followed.
"""

import socket
import ssl
import time
from typing import Any, NamedTuple

from ..common import log
from ..common.errors import ProtocolError
from ..common.urls import Proxy
from . import http, strangers
from .eyeballs import Addresses, Unreachable
from .http import Fields
from .stream import MAX_HEAD, Ended, Timed
from .transport import CutOff, NoAnswer, Route, TransportError, proxy_authorization


# How a connection ends before the answer is complete
_ENDED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


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


class Keeping:
    """Whether a server keeps its connections, as HTTP/1.1 has it: all that are to it learn that.

    What is sent as the server closes, without having said so, is lost.  That may happen once; a
    server that does so again is given a new connection for each request.
    """

    def __init__(self) -> None:
        self._broken = 0

    def broke(self) -> None:
        """One that had been kept was closed under a request."""
        self._broken += 1

    @property
    def is_believed(self) -> bool:
        """True if a connection is to be kept after an answer."""
        return self._broken < 2


class Connection:
    """Opened when needed, through the proxy if there is one; reopened when it was closed."""

    def __init__(self, route: Route, context: ssl.SSLContext, timeout: float,
                 addresses: Addresses | None = None, keeping: Keeping | None = None) -> None:
        """``timeout``: seconds for one answer, connecting and TLS included; ``addresses``: those
        of the route, if other connections share what is learnt of them, as of ``keeping``."""
        self._route = route
        self._tls = context
        self._seconds = timeout
        self._deadline = 0.0
        self._addresses = addresses or Addresses(route.addresses)
        self._keeping = keeping or Keeping()
        self._timed: Timed | None = None       # None as long as it is not open

    @property
    def is_open(self) -> bool:
        """True if the next request needs no new one."""
        return self._timed is not None

    def close(self) -> None:
        """Close it; it is opened again when that is needed."""
        timed, self._timed = self._timed, None
        if timed is not None:
            timed.close()

    def open(self, seconds: float) -> None:
        """Open it, if it isn't, for a request that is to come.  Raises as ``exchange``, after so
        many seconds if not before."""
        if self.is_open:
            return
        self._deadline = time.monotonic() + min(seconds, self._seconds)
        try:
            self._timed = self._open()
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
        if self._timed is not None and not self._timed.quiet():
            self.close()
        kept = self.is_open
        try:
            return self._attempt(method, target, fields, body, limit)
        except BaseException as exc:
            if kept and isinstance(exc, _ENDED):
                self._keeping.broke()
            self.close()
            self._translate(exc)
            raise

    def _translate(self, exc: BaseException) -> None:
        """Raise what the administrator should read in place of ``exc``, if it is known."""
        authority = self._route.url.authority
        if isinstance(exc, TimeoutError):
            raise NoAnswer(f"{authority}: no complete answer within {self._seconds:.0f} seconds "
                           "(setting “answer-timeout”)") from exc
        if isinstance(exc, _ENDED):
            raise CutOff(f"{authority}: {log.printable(exc.strerror or exc, 300)}") from exc
        if isinstance(exc, OSError):
            raise TransportError(f"{authority}: {log.printable(exc.strerror or exc, 300)}"
                                 ) from exc

    def _attempt(self, method: str, target: str, fields: Fields, body: bytes | None,
                 limit: int) -> Response:
        request = http.request(method, target, fields, body)
        if self._timed is None:
            self._timed = self._open()
        self._timed.begin(self._deadline, limit + MAX_HEAD)
        self._timed.send(request)
        try:
            found = http.receive(self._timed, method, limit + 1)
        except ProtocolError as exc:
            raise ProtocolError(f"not an HTTP response that makes sense: {exc}") from exc
        if len(found.body) > limit:
            raise ProtocolError(f"an HTTP response of more than {limit} bytes")
        if not (found.persists and self._keeping.is_believed):
            self.close()
        return Response(found.status, found.fields, found.body)

    def _open(self) -> Timed:
        """Connect, through the proxy if there is one, and do the TLS handshake."""
        plain, address = self._connect()
        try:
            # Nothing to gain from waiting for more (Nagle): header and body leave in one write
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._route.proxy is not None:
                self._pass_proxy(plain, self._route.proxy)
            plain.settimeout(max(0.001, self._deadline - time.monotonic()))
            try:
                sock = self._tls.wrap_socket(plain, server_hostname=self._route.url.host)
            except TimeoutError:
                raise
            except OSError as exc:
                raise strangers.handshake(self._route.url.authority, exc) from exc
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
        """Have the proxy connect us to the server."""
        url = self._route.url
        host = f"[{url.host}]" if ":" in url.host else url.host
        try:
            status = http.tunnel(Timed(plain, self._deadline), f"{host}:{url.port}",
                                 proxy_authorization(proxy))
        except TimeoutError:
            raise
        except Ended as exc:
            raise _refused(proxy, "it closed the connection") from exc
        except (OSError, ProtocolError) as exc:
            raise _refused(proxy, log.printable(exc, 300)) from exc
        if not 200 <= status < 300:
            hint = " (user name or password?)" if status == 407 else ""
            raise _refused(proxy, f"it answers with HTTP status {status}{hint}")


def _refused(proxy: Proxy, why: str) -> TransportError:
    return TransportError(f"the proxy {proxy.host}:{proxy.port}: {why}")
