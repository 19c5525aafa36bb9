"""An ACME server that works, until a test tells it to say something else.

It speaks enough of RFC 8555 for a certificate to be issued: each object is there, nonces are
checked, signatures are not.  Any answer can be replaced:

>>> hostile.on["newOrder"] = lambda request, default: Response.problem("rateLimited", "No.", 429)
>>> hostile.edit("authz", lambda authz: authz["challenges"].clear())

The names of resources are RFC 8555's: directory, newNonce, newAccount, newOrder, revokeCert,
keyChange, account, order, finalize, authz, challenge, certificate; a path may stand for one too.
``misbehaviour`` has what SECURITY.md tells of a hostile server, ready-made.
"""

import base64
import http.server
import json
import secrets
import socket
import ssl
import tempfile
import threading
from pathlib import Path
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import (Any, NamedTuple)

from . import ca
from .net import free_port

JSON = dict[str, Any]
Headers = Mapping[str, str | None]


class Request(NamedTuple):
    """A request as it arrived, and what was in its JWS."""

    method: str
    path: str
    resource: str
    id: str                    # of the account, order …: the last part of the path
    headers: Mapping[str, str]  # by lower-case name
    body: bytes
    protected: JSON            # {} if there is none, or none that can be decoded
    payload: Any               # None: a GET; "": a POST-as-GET (§6.3)


class Response(NamedTuple):
    """An answer; whatever is in it is sent as it is.

    A ``body`` that isn't bytes is sent piece by piece until the connection is closed.  A header
    with the value None isn't sent, also not if the server would add it (Replay-Nonce).  ``raw``
    is sent instead of all that, and then the connection ends (``reset``: breaks); ``extra``
    follows an answer, unasked for.
    """

    status: int = 200
    headers: Headers = {}
    body: bytes | Iterable[bytes] = b""
    raw: bytes | None = None
    reset: bool = False
    extra: bytes = b""

    @classmethod
    def json(cls, message: object, status: int = 200,
             headers: Headers | None = None) -> "Response":
        """Return an answer with a JSON body."""
        return cls(status, {"Content-Type": "application/json", **(headers or {})},
                   json.dumps(message).encode())

    @classmethod
    def problem(cls, type_: str, detail: str, status: int = 403,
                headers: Headers | None = None, **members: Any
                ) -> "Response":
        """Return a problem document (§6.7); ``type_`` without the URN."""
        return cls(status, {"Content-Type": "application/problem+json", **(headers or {})},
                   json.dumps({"type": f"urn:ietf:params:acme:error:{type_}", "detail": detail,
                               "status": status, **members}).encode())

    def object(self) -> JSON:
        """Return the JSON in the body."""
        message: JSON = json.loads(self.whole_body())
        return message

    def whole_body(self) -> bytes:
        """Return the body in one piece."""
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)


RESOURCES = ("directory", "newNonce", "newAccount", "newOrder", "revokeCert", "keyChange",
             "account", "orders", "order", "finalize", "authz", "challenge", "certificate")

Default = Callable[[], Response]
Handler = Callable[[Request, Default], Response]
Issuer = Callable[[str, list[str]], str | bytes]


class Hostile:
    """The server, on a free port of 127.0.0.1.

    ``names`` are those in its HTTPS certificate, unless ``identity`` is its chain and key.
    ``authority`` issues, else a new CA does.  ``directory``, ``ca_file`` and ``roots()`` are as
    Pebble's; it validates nothing, so ``http_port`` is just a free port.

    ``on``          resource or path -> what answers instead (see the module)
    ``issuer``      CSR in PEM, names of the order -> PEM of certificate and chain
    ``processing``  how often a finalized order still says "processing" (§7.4)
    ``retry_after`` what it says in Retry-After then
    ``reuse``       newOrder shows the unfinished order there is, as Boulder does
    ``base``, ``spell``  how its URLs begin, and how a path is spelled in them
    ``orders``, ``certificates``  what there is of them
    ``requests``    all requests, in order
    ``revoked``     the payloads of revokeCert
    ``handshake_errors``  of connections that never became TLS: ssl.SSLError or OSError
    """

    def __init__(self, names: Sequence[str] = ca.LOOPBACK, authority: ca.CA | None = None,
                 port: int = 0, identity: tuple[Path, Path] | None = None) -> None:
        self.port = port
        self._identity = identity
        self._server_names = names
        self._authority = authority
        self.on: dict[str, Handler] = {}
        self.issuer: Issuer = lambda csr, _names: self.issue(csr)
        self.processing = 0
        self.reuse = False
        self.interim = b""    # before each answer
        self.spell: Callable[[str], str] = lambda path: path
        self.unspell: Callable[[str], str] = lambda target: target
        self.retry_after: str | None = "1"
        self.requests: list[Request] = []
        self.revoked: list[JSON] = []
        self.handshake_errors: list[OSError] = []
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._nonces: set[str] = set()
        self._accounts: list[JSON] = []
        self.orders: list[JSON] = []
        self._authorizations: list[JSON] = []
        self.certificates: list[str | bytes] = []

    def __enter__(self) -> "Hostile":
        self._temporary = tempfile.TemporaryDirectory(prefix="hostile-")
        (path := Path(self._temporary.name)).chmod(0o755)  # children, who read the CA file
        self.ca = self._authority or ca.CA(path, "Hostile")
        self.ca_file = self.ca.root
        self.http_port = free_port()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*(self._identity or self.ca.server(self._server_names)))
        self._http = _Server(self, self._tls)
        self.port = self._http.server_address[1]
        self.base = f"https://127.0.0.1:{self.port}"
        self.directory = f"{self.base}/directory"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._temporary.cleanup()

    def roots(self) -> Path:
        """Return the path of a PEM file with the root that it issues under."""
        return self.ca.root

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"{self.base}{self.spell(f'/{path}')}"

    def issue(self, csr: str, **how: Any) -> str:
        """Return a certificate for the CSR (PEM) with its chain: what a good CA would do.

        ``how`` goes to CA.issue (names, not_before, days).
        """
        return self.ca.issue(csr, **how) + self.ca.intermediate.read_text()

    def edit(self, resource: str, change: Callable[[JSON], Any]) -> None:
        """Let ``change`` alter the JSON object in each answer of a resource that isn't an error.

        What it returns is sent instead, if that is an object or a list.
        """
        def handler(_request: Request, default: Default) -> Response:
            response = default()
            if response.status >= 400:
                return response
            message = response.object()
            changed = change(message)
            return response._replace(body=json.dumps(
                changed if isinstance(changed, (dict, list)) else message).encode())
        self.on[resource] = handler

    def asked(self, resource: str) -> list[Request]:
        """Return the requests for a resource."""
        return [request for request in self.requests if request.resource == resource]

    def name(self, request: Request) -> str | None:
        """Return the first name of the order that a request is about; None if of none."""
        number = int(request.id.partition("-")[0] or 0) if request.id[:1].isdigit() else 0
        with self._lock:
            if request.resource == "newOrder":
                identifier: JSON = request.payload["identifiers"][0]
            elif request.resource in ("order", "finalize"):
                identifier = self.orders[number]["identifiers"][0]
            elif request.resource in ("authz", "challenge"):
                identifier = self._authorizations[number]["identifier"]
            elif request.resource == "certificate":
                identifier = next(order for order in self.orders if order.get("certificate")
                                  == self.url(request.path[1:]))["identifiers"][0]
            else:
                return None
        return str(identifier["value"])

    def answer(self, request: Request) -> Response:
        """Return the answer to a request: the test's, or else the right one."""
        handler = self.on.get(request.path, self.on.get(request.resource))
        if handler is not None:
            return handler(request, lambda: self.default(request))
        return self.default(request)

    def nonce(self) -> str:
        """Return a new nonce (§6.5)."""
        nonce = secrets.token_urlsafe(12)
        with self._lock:
            self._nonces.add(nonce)
        return nonce

    # What a good server answers, one method a resource.

    def default(self, request: Request) -> Response:
        """Return the right answer to a request."""
        with self._lock:
            if request.method == "POST":
                nonce = request.protected.get("nonce")
                if nonce not in self._nonces:  # §6.5
                    return Response.problem("badNonce", f"never issued, or used: {nonce}", 400)
                self._nonces.remove(nonce)
                if request.protected.get("url") != self.url(request.path[1:]):  # §6.4
                    return Response.problem("unauthorized", "url isn't this URL", 401)
            elif request.resource not in ("directory", "newNonce"):  # §6.3
                return Response.problem("malformed", "GET is not allowed here", 405)
            if request.resource not in RESOURCES:
                return Response.problem("malformed", "no such resource", 404)
            method: Callable[[Request], Response] = getattr(self, f"_{request.resource}")
            try:
                return method(request)
            except (LookupError, TypeError, ValueError, RuntimeError) as exc:
                return Response.problem("malformed", f"{type(exc).__name__}: {exc}", 400)

    def _directory(self, _request: Request) -> Response:
        names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
        return Response.json({
            **{name: self.url(name) for name in names}, "meta": {"termsOfService": self.url("tos")},
            secrets.token_urlsafe(6): "https://community.example/unknown-members-are-ignored"})

    def _newNonce(self, request: Request) -> Response:
        return Response(200 if request.method == "HEAD" else 204, {"Cache-Control": "no-store"})

    def adopt(self, jwk: JSON, contact: Sequence[str] = ()) -> str:
        """Make an account of this key, as if it had been asked for; return its URL."""
        self._accounts.append({"jwk": jwk, "status": "valid", "contact": contact})
        return self.url(f"account/{len(self._accounts) - 1}")

    def _newAccount(self, request: Request) -> Response:
        jwk = request.protected["jwk"]
        for number, account in enumerate(self._accounts):
            if account["jwk"] == jwk:
                return self._show_account(number, 200)
        if request.payload.get("onlyReturnExisting"):
            return Response.problem("accountDoesNotExist", "no account with this key", 400)
        self.adopt(jwk, request.payload.get("contact", []))
        return self._show_account(len(self._accounts) - 1, 201)

    def _show_account(self, number: int, status: int = 200) -> Response:
        account = {**self._accounts[number], "orders": self.url(f"orders/{number}")}
        del account["jwk"]
        return Response.json(account, status, {"Location": self.url(f"account/{number}")})

    def _account(self, request: Request) -> Response:
        for member in ("status", "contact"):
            if request.payload and member in request.payload:
                self._accounts[int(request.id)][member] = request.payload[member]
        return self._show_account(int(request.id))

    def _orders(self, _request: Request) -> Response:
        urls = [self.url(f"order/{number}") for number in range(len(self.orders))]
        return Response.json({"orders": urls})

    def _newOrder(self, request: Request) -> Response:
        identifiers = request.payload["identifiers"]
        for number, known in enumerate(self.orders if self.reuse else ()):
            if known["identifiers"] == identifiers and known["status"] in ("pending", "ready"):
                return self._show_order(number, 201)
        authorizations = []
        for identifier in identifiers:
            wildcard = identifier["value"].startswith("*.")
            number = len(self._authorizations)
            authorizations.append(self.url(f"authz/{number}"))
            challenges: list[JSON] = [
                {"type": kind, "status": "pending", "token": secrets.token_urlsafe(32),
                 "url": self.url(f"challenge/{number}-{index}")}
                for index, kind in enumerate(["tls-alpn-01", "http-01", "dns-01"])
                if kind == "dns-01" or not wildcard]
            # A type nobody knows, without a token: to be ignored.
            challenges.insert(0, {"type": "carrier-pigeon-01", "status": "pending",
                                  "url": self.url(f"challenge/{number}-9")})
            self._authorizations.append({
                "identifier": {**identifier, "value": identifier["value"][2 * wildcard:]},
                "status": "pending", "expires": "2099-01-01T00:00:00Z", "challenges": challenges,
                **({"wildcard": True} if wildcard else {})})
        self.orders.append({"status": "pending", "expires": "2099-01-01T00:00:00Z",
                            "identifiers": identifiers, "authorizations": authorizations,
                            "finalize": self.url(f"finalize/{len(self.orders)}")})
        return self._show_order(len(self.orders) - 1, 201)

    def _current(self, number: int) -> JSON:
        order = self.orders[number]
        if order["status"] == "pending" and all(
                self._authorizations[int(url.rpartition("/")[2])]["status"] == "valid"
                for url in order["authorizations"]):
            order["status"] = "ready"
        return order

    def validate(self, number: int) -> None:
        """Let all authorizations of an order be valid."""
        for url in self.orders[number]["authorizations"]:
            self._authorizations[int(url.rpartition("/")[2])]["status"] = "valid"

    def _show_order(self, number: int, status: int = 200) -> Response:
        order = self._current(number)
        shown = {key: value for key, value in order.items() if key != "polls"}
        headers: dict[str, str | None] = {"Location": self.url(f"order/{number}")}
        if order.get("polls", 0) > 0:  # §7.1.6: ready -> processing -> valid
            order["polls"] -= 1
            shown["status"] = "processing"
            shown.pop("certificate")
            headers["Retry-After"] = self.retry_after
        return Response.json(shown, status, headers)

    def _order(self, request: Request) -> Response:
        return self._show_order(int(request.id))

    def _finalize(self, request: Request) -> Response:
        order = self._current(int(request.id))
        if order["status"] != "ready":
            return Response.problem("orderNotReady", f"it is {order['status']}", 403)
        csr = ca.pem(unbase64url(request.payload["csr"]), "CERTIFICATE REQUEST")
        names = [identifier["value"] for identifier in order["identifiers"]]
        self.certificates.append(self.issuer(csr, names))
        order.update(status="valid", polls=self.processing,
                     certificate=self.url(f"certificate/{len(self.certificates) - 1}"))
        return self._show_order(int(request.id))

    def _authz(self, request: Request) -> Response:
        # "7-1", "7-2" … are authorization 7 too: a test may need many.
        authorization = self._authorizations[int(request.id.partition("-")[0])]
        if request.payload and request.payload.get("status") == "deactivated":
            authorization["status"] = "deactivated"
        return Response.json(authorization)

    def _challenge(self, request: Request) -> Response:
        number = int(request.id.partition("-")[0])
        authorization = self._authorizations[number]
        challenge = next(challenge for challenge in authorization["challenges"]
                         if challenge["url"] == self.url(f"challenge/{request.id}"))
        if request.payload == {} and authorization["status"] == "pending":  # §7.5.1
            challenge["status"] = authorization["status"] = "valid"
            challenge["validated"] = "2026-01-01T00:00:00Z"
        return Response.json(challenge, 200,
                             {"Link": f'<{self.url(f"authz/{number}")}>;rel="up"'})

    def _certificate(self, request: Request) -> Response:
        body = self.certificates[int(request.id)]
        return Response(200, {"Content-Type": "application/pem-certificate-chain"},
                        body.encode() if isinstance(body, str) else body)

    def _revokeCert(self, request: Request) -> Response:
        self.revoked.append(request.payload)
        return Response()

    def _keyChange(self, request: Request) -> Response:
        inner = json.loads(unbase64url(request.payload["protected"]))
        number = int(request.protected["kid"].rpartition("/")[2])
        self._accounts[number]["jwk"] = inner["jwk"]
        return self._show_account(number)


def unbase64url(text: str) -> bytes:
    """Decode base64url without padding (RFC 7515 §2); raises ValueError."""
    return base64.b64decode(text.translate({45: "+", 95: "/"}) + "=" * (-len(text) % 4),
                            validate=True)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, hostile: Hostile, tls: ssl.SSLContext) -> None:
        self.hostile = hostile
        self._tls = tls
        self._open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", hostile.port), _Connection)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread: a handshake that hangs stops nobody else.
        request.settimeout(120)
        try:
            connection = self._tls.wrap_socket(request, server_side=True)
        except OSError as exc:
            self.hostile.handshake_errors.append(exc)
            return
        self._open.add(connection)
        try:
            super().finish_request(connection, client_address)
        except OSError:    # the client had enough
            pass
        finally:
            self._open.discard(connection)
            connection.close()

    def server_close(self) -> None:
        super().server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not self.hostile.stopping.is_set():
            super().handle_error(request, client_address)


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        protected, payload = _decode(body)
        path = self.server.hostile.unspell(self.path)
        resource, _, number = path.lstrip("/").partition("/")
        request = Request(self.command, path, resource, number,
                          {name.lower(): value for name, value in self.headers.items()}, body,
                          protected, payload if self.command == "POST" else None)
        self.server.hostile.requests.append(request)
        self._send(self.server.hostile.answer(request))

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _send(self, response: Response) -> None:
        hostile = self.server.hostile
        if response.raw is not None:
            self.close_connection = True
            self.wfile.write(response.raw)
            if response.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0" * 2)
            return
        self.wfile.write(hostile.interim)
        length = str(len(response.body)) if isinstance(response.body, bytes) else None
        headers: dict[str, str | None] = {}
        if self.path != "/directory" or self.command == "POST":
            headers["Replay-Nonce"] = hostile.nonce()
        headers["Link"] = f'<{hostile.directory}>;rel="index"'
        if response.status != 204:
            headers["Content-Length"] = length
        headers.update(response.headers)
        if headers.get("Content-Length") != (None if response.status == 204 else length or ""):
            headers["Connection"] = "close"  # the client can't tell where the body ends
        (self.send_response_only if "Date" in headers else self.send_response)(response.status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        for piece in _pieces(response.body):
            if hostile.stopping.is_set():
                return
            self.wfile.write(piece)
        self.wfile.write(response.extra)

    def log_message(self, *_: object) -> None:
        """Say nothing: tests read ``requests``."""


def _pieces(body: bytes | Iterable[bytes]) -> Iterator[bytes]:
    return iter([body] if isinstance(body, bytes) else body)


def _decode(body: bytes) -> tuple[JSON, Any]:
    try:
        jws = json.loads(body)
        payload = unbase64url(jws["payload"])
        return (json.loads(unbase64url(jws["protected"])),
                json.loads(payload) if payload else "")
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}, None
