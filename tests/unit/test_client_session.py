"""Connections and sessions against a local TLS server that misbehaves."""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import misbehaviour
from harness.client import GREETING, refusal
from harness.hostile import Hostile, Response
from letsencrypt_tiny.client import transport
from letsencrypt_tiny.client.problem import ProblemError
from letsencrypt_tiny.client.session import Session
from letsencrypt_tiny.client.signer import Signer, SignerError
from letsencrypt_tiny.client.connection import Connection
from letsencrypt_tiny.client.connection import Response as ConnectionResponse
from letsencrypt_tiny.client.transport import CutOff, TransportError
from letsencrypt_tiny.common.wire import signer as signer_protocol
from letsencrypt_tiny.common.errors import LocalProtocolError, ProtocolError
from letsencrypt_tiny.common.wire.order import Access


def connect(url: str, ca_file: Any, timeout: float = 5) -> Connection:
    route = transport.find_route(transport.parse_url(url, "x"), None)
    return Connection(route, transport.tls_context(Access(url, ca_file=str(ca_file))),
                      timeout)


# --- connections -------------------------------------------------------------------------------

@pytest.mark.parametrize("how", [misbehaviour.slow_body, misbehaviour.silence])
def test_a8_a_request_has_a_time_limit(hostile: Hostile, how: Callable[..., None]) -> None:
    """Also where each byte comes in time."""
    if how is misbehaviour.slow_body:
        misbehaviour.slow_body(hostile, "directory", 0.05)
    else:
        misbehaviour.silence(hostile, "directory")
    connection = connect(hostile.directory, hostile.ca_file, 0.5)
    start = time.monotonic()
    with pytest.raises(TransportError, match="no complete answer"):
        connection.exchange("GET", "/directory", (("Host", "x"),), None, 10000)
    assert 0.4 < time.monotonic() - start < 1.5


class Scripted:
    """A TLS server that answers each connection with what the test gives it, then closes it."""

    def __init__(self, hostile: Hostile, *answers: list[bytes | list[bytes]]) -> None:
        """An answer that is a list comes in pieces, with a pause between them."""
        chain, key = hostile.ca.server()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(chain, key)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}/"
        self.requests: list[bytes] = []
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, connections: "tuple[list[bytes | list[bytes]], ...]") -> None:
        for answers in connections:
            plain, _ = self._listening.accept()
            with self._context.wrap_socket(plain, server_side=True) as sock:
                for answer in answers:
                    request = sock.recv(65536)
                    if not request:    # the client closed it
                        break
                    self.requests.append(request)
                    for piece in [answer] if isinstance(answer, bytes) else answer:
                        sock.sendall(piece)
                        time.sleep(0.03)

    def stop(self) -> None:
        self._thread.join(5)
        self._listening.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"


def test_an_idle_connection_that_was_closed_is_opened_again(hostile: Hostile) -> None:
    server = Scripted(hostile, [OK, OK], [OK])
    connection = connect(server.url, hostile.ca_file)
    for _ in range(3):
        assert connection.exchange("POST", "/", (("Host", "x"),), b"{}", 100).body == b"ok"
        time.sleep(0.05)
    connection.close()
    server.stop()
    assert len(server.requests) == 3


@pytest.mark.parametrize("connections, error", [
    (([],), TransportError),             # a new connection: tried once
    (([OK, CUT],), CutOff),              # answered in part: never sent again
    (([OK, b""],), CutOff),              # not answered
    (([OK], []), TransportError)])       # opened again, once
def test_a_request_is_never_sent_again(hostile: Hostile, connections: Any, error: Any) -> None:
    server = Scripted(hostile, *connections)
    connection = connect(server.url, hostile.ca_file)
    with pytest.raises(error):
        for _ in range(3):
            connection.exchange("POST", "/", (("Host", "x"),), b"{}", 100)
            time.sleep(0.05)
    server.stop()
    assert len(server.requests) == sum(map(len, connections))


@pytest.mark.parametrize("late", [False, True])
def test_what_nobody_asked_for_is_dropped_with_its_connection(hostile: Hostile,
                                                              late: bool) -> None:
    """two-answers: whether it came in one piece with the answer or after it."""
    server = Scripted(hostile, [[OK, OTHER] if late else [OK + OTHER], OTHER], [OK])
    connection = connect(server.url, hostile.ca_file)
    for _ in range(2):
        assert connection.exchange("POST", "/", (("Host", "x"),), b"{}", 100).body == b"ok"
        time.sleep(0.1)
    connection.close()
    server.stop()
    assert len(server.requests) == 2


def test_no_address_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(TransportError, match=f"127.0.0.1:{port}.*Connection refused"):
        connect(f"https://127.0.0.1:{port}/", "").exchange("GET", "/", (), None, 100)


# --- the signer --------------------------------------------------------------------------------

@pytest.fixture
def pair() -> Iterator["tuple[socket.socket, socket.socket]"]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_signer_answers_many_requests(pair: "tuple[socket.socket, socket.socket]") -> None:
    ours, theirs = pair
    theirs.sendall(signer_protocol.format_greeting(GREETING)
                   + signer_protocol.format_signature(b"1" * 64)
                   + signer_protocol.format_signature(b"2" * 64))
    signer = Signer(ours)
    assert signer.greeting == GREETING
    assert [signer.sign(b"{}", b"") for _ in range(2)] == [b"1" * 64, b"2" * 64]
    assert theirs.recv(100) == b"e30.\r\ne30.\r\n"


@pytest.mark.parametrize("line, words", [
    (b"NOSIGN not today \x1b[31m\r\n", "refused to sign: not today"), (b"AAAA\r\n", "3 bytes"),
    (b"", "closed"), (b"x" * 20000, "longer"), (b"!!\r\n", "base64url")])
def test_a_signer_that_failed_stays_so(pair: "tuple[socket.socket, socket.socket]", line: bytes,
                                       words: str) -> None:
    ours, theirs = pair
    theirs.sendall(signer_protocol.format_greeting(GREETING))
    signer = Signer(ours)
    theirs.sendall(line)
    theirs.shutdown(socket.SHUT_WR)
    for _ in range(2):
        with pytest.raises(SignerError, match=words) as caught:
            signer.sign(b"{}", b"")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("greeting", [
    b"", b"1 OK\r\n", b"2 OK\r\n{}\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"1 OK\r\n[]\r\n",
    b"\0" * 20000])
def test_what_does_not_greet_is_no_signer(pair: "tuple[socket.socket, socket.socket]",
                                          greeting: bytes) -> None:
    ours, theirs = pair
    theirs.sendall(greeting)
    theirs.close()
    with pytest.raises(SignerError, match="account key manager"):
        Signer(ours)


# --- sessions ----------------------------------------------------------------------------------

class FakeSigner:
    """Signs anything: the hostile server doesn't look."""

    greeting = GREETING

    def sign(self, _protected: bytes, _payload: bytes) -> bytes:
        return b"s" * 64


@pytest.fixture
def session(hostile: Hostile) -> Iterator[Session]:
    route = transport.find_route(transport.parse_url(hostile.directory, "x"), None)
    context = transport.tls_context(Access("", ca_file=str(hostile.ca_file)))
    made: Any = Session(hostile.directory, route, context, FakeSigner(), time.time)  # type: ignore
    made.fetch_directory()
    yield made
    made.close()


def test_without_a_signer_there_is_get(hostile: Hostile) -> None:
    """As for what a server tells everybody: its directory, renewal information (RFC 9773)."""
    route = transport.find_route(transport.parse_url(hostile.directory, "x"), None)
    context = transport.tls_context(Access("", ca_file=str(hostile.ca_file)))
    session = Session(hostile.directory, route, context, None, time.time)
    session.fetch_directory()
    assert session.json(session.get(hostile.directory, "x"), "x")["newNonce"]
    with pytest.raises(LocalProtocolError, match="no account key manager"):
        account(session)
    with pytest.raises(ProblemError):
        session.get(hostile.url("nowhere"), "x")
    session.close()
    assert not hostile.asked("newAccount") and not hostile.asked("newNonce")


def account(session: Session) -> None:
    session.post(session.directory.new_account, {"termsOfServiceAgreed": True}, "x", with_jwk=True)


@pytest.mark.parametrize("reference, meant", [
    ("/order/7", "/order/7"), ("order/7", "/acme/order/7"), ("../order?7", "/order?7"),
    ("?7", "/acme/new?7"), ("{base}/order/7", "/order/7")])
def test_a_relative_location(hostile: Hostile, session: Session, reference: str,
                             meant: str) -> None:
    """relative (RFC 9110 §10.2.2): as of the URL that the request was sent to."""
    response = ConnectionResponse(201, (("location", reference.format(base=hostile.base)),), b"")
    found = session.location(response, f"{hostile.base}/acme/new", "newOrder")
    assert found == hostile.base + meant


@pytest.mark.parametrize("reference", [
    "//evil.example/order/7", "https://evil.example/", "http:order", "data:x", "/a b",
    "https:order/7", "/\n", "\\\\evil.example/x", None])
def test_a_location_elsewhere(hostile: Hostile, session: Session, reference: str | None) -> None:
    """What doesn't lead to the server itself is refused."""
    fields = () if reference is None else (("location", reference),)
    with pytest.raises(ProtocolError, match="Location"):
        session.location(ConnectionResponse(201, fields, b""), f"{hostile.base}/acme/new",
                         "newOrder")


def test_nonces_come_from_answers(hostile: Hostile, session: Session) -> None:
    for _ in range(5):
        account(session)
    assert len(hostile.asked("newNonce")) == 1
    used = [request.protected["nonce"] for request in hostile.asked("newAccount")]
    assert len(set(used)) == 5


def test_a_bad_nonce_is_replaced_by_that_of_the_answer(hostile: Hostile,
                                                       session: Session) -> None:
    misbehaviour.bad_nonce(hostile, "newAccount", times=2)
    account(session)
    assert len(hostile.asked("newNonce")) == 1 and len(hostile.asked("newAccount")) == 3


def test_a_bad_nonce_that_another_order_was_given(hostile: Hostile, session: Session) -> None:
    """Many of another one's were refused in a row; this one's request gets a good one, once."""
    account(session)
    while session._nonces.refused():
        pass
    session._nonces.put(ConnectionResponse(400, (("replay-nonce", "none"),), b""))
    account(session)
    assert [request.protected["nonce"] == "none" for request in hostile.asked("newAccount")] == [
        False, True, False]
    while session._nonces.refused():
        pass
    misbehaviour.bad_nonce(hostile, "newAccount", times=2)
    with pytest.raises(ProblemError, match="badNonce"):
        account(session)


def test_a_server_without_nonces(hostile: Hostile, session: Session) -> None:
    for headers in {"Replay-Nonce": None}, {"Replay-Nonce": "not base64url!"}:
        hostile.on["newNonce"] = lambda _request, _default: Response(200, headers)
        with pytest.raises(ProtocolError, match="newNonce"):
            account(session)


# --- an account that was remembered ------------------------------------------------------------

def post(session: Session) -> None:
    session.post(session.directory.new_order, {"identifiers": []}, "x")


def remember(session: Session, answers: list[str | Exception]) -> list[str]:
    """Let the session remember an account; return what is found when it is looked up."""
    looked_up: list[str] = []

    def find() -> str:
        answer = answers[len(looked_up)]
        looked_up.append(str(answer))
        if isinstance(answer, Exception):
            raise answer
        return answer
    session.kid, session.find_kid = session.directory.new_order, find
    return looked_up


@pytest.mark.parametrize("kind, status, times", [
    ("malformed", 400, 1), ("accountDoesNotExist", 400, 1), ("unauthorized", 401, 1),
    ("", 403, 1), ("", 404, 1), ("rejectedIdentifier", 400, 1),
    ("rateLimited", 429, 0), ("serverInternal", 500, 0), ("", 503, 0)])
def test_whatever_is_refused_the_account_is_looked_up_once(
        hostile: Hostile, session: Session, kind: str, status: int, times: int) -> None:
    hostile.on["newOrder"] = lambda _request, _default: Response.problem(kind, "No.", status)
    looked_up = remember(session, [hostile.url("account/0")] * 3)
    for _ in range(3):
        with pytest.raises(ProblemError, match="No."):
            post(session)
    assert len(looked_up) == times and len(hostile.asked("newOrder")) == 3 + times


def test_an_account_that_was_taken_is_not_looked_up(hostile: Hostile, session: Session) -> None:
    looked_up = remember(session, [])
    hostile.on["newOrder"] = lambda _request, _default: Response()
    post(session)
    misbehaviour.problem(hostile, "newOrder")
    with pytest.raises(ProblemError):
        post(session)
    assert not looked_up


def test_an_account_is_looked_up_until_there_is_an_answer(hostile: Hostile,
                                                          session: Session) -> None:
    misbehaviour.problem(hostile, "newOrder")
    looked_up = remember(session, [CutOff("x"), refusal("rateLimited", 429), session.kid or "x"])
    for error in (CutOff, ProblemError, ProblemError, ProblemError):
        with pytest.raises(error):
            post(session)
    assert len(looked_up) == 3


@pytest.mark.parametrize("kind", ["text/html", "application/jose+json", None])
def test_what_is_not_said_to_be_json_is_not_read(hostile: Hostile, session: Session,
                                                 kind: Any) -> None:
    hostile.on["directory"] = lambda _request, default: default()._replace(
        headers={"Content-Type": kind})
    with pytest.raises(ProtocolError, match="instead of application/json"):
        session.fetch_directory()


@pytest.mark.parametrize("directory", [
    {}, [], {"newNonce": 3}, {"newNonce": "x"}, "x", {"meta": 3}, {"meta": {"profiles": []}}])
def test_what_is_no_directory(hostile: Hostile, session: Session, directory: Any) -> None:
    def answer(_request: Any, default: Any) -> Response:
        message = default().object()
        if isinstance(directory, dict) and directory:
            message.update(directory)
        else:
            message = directory
        return Response.json(message)
    hostile.on["directory"] = answer
    with pytest.raises(ProtocolError, match="/directory"):
        session.fetch_directory()


# RFC 3986 §5.4, but for those with a scheme
EXAMPLES = {
    "g": "/b/c/g", "./g": "/b/c/g", "g/": "/b/c/g/", "/g": "/g", "?y": "/b/c/d;p?y",
    "g?y": "/b/c/g?y", "#s": "/b/c/d;p?q#s", "g#s": "/b/c/g#s", "g?y#s": "/b/c/g?y#s",
    ";x": "/b/c/;x", "g;x": "/b/c/g;x", "g;x?y#s": "/b/c/g;x?y#s", "": "/b/c/d;p?q",
    ".": "/b/c/", "./": "/b/c/", "..": "/b/", "../": "/b/", "../g": "/b/g", "../..": "/",
    "../../": "/", "../../g": "/g", "../../../g": "/g", "../../../../g": "/g", "/./g": "/g",
    "/../g": "/g", "g.": "/b/c/g.", ".g": "/b/c/.g", "g..": "/b/c/g..", "..g": "/b/c/..g",
    "./../g": "/b/g", "./g/.": "/b/c/g/", "g/./h": "/b/c/g/h", "g/../h": "/b/c/h",
    "g;x=1/./y": "/b/c/g;x=1/y", "g;x=1/../y": "/b/c/y", "g?y/./x": "/b/c/g?y/./x",
    "g#s/../x": "/b/c/g#s/../x"}


def test_references(hostile: Hostile, session: Session) -> None:
    origin = hostile.base
    for reference, meant in EXAMPLES.items():
        if "#" in reference:   # no URL of an ACME server's has one
            with pytest.raises(ProtocolError, match=re.escape(origin + meant)):
                session.resolve(reference, f"{origin}/b/c/d;p?q", "x")
        else:
            assert session.resolve(reference, f"{origin}/b/c/d;p?q", "x") == origin + meant
    assert session.resolve("g", origin, "x") == f"{origin}/g"
    host = origin.removeprefix("https:")
    assert session.resolve(f"{host}/x", f"{origin}/b", "x") == f"{origin}/x"
    with pytest.raises(ProtocolError):
        session.resolve("//g:1/x", f"{origin}/b", "x")
