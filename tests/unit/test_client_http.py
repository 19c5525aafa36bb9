"""HTTP/1.1 as the client reads it: what has two meanings has none; and tunnels."""

import socket
import threading
import time

import pytest

from letsencrypt_tiny.client import http
from letsencrypt_tiny.client.stream import Ended, Timed
from letsencrypt_tiny.common.errors import LocalProtocolError, ProtocolError

OK = b"HTTP/1.1 200 OK\r\n"


def receive(data: bytes, method: str = "GET", most: int = 100) -> http.Message:
    """What is made of an answer, after which the connection is closed."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(data)
        theirs.shutdown(socket.SHUT_WR)
        timed = Timed(ours, time.monotonic() + 10)
        timed.begin(time.monotonic() + 10, 70000)
        return http.receive(timed, method, most)


@pytest.mark.parametrize("data", [
    OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
    OK + b"Content-Length: 2, 3\r\n\r\nabc", OK + b"Content-Length: +2\r\n\r\nab",
    OK + b"Content-Length: -1\r\n\r\nab", OK + b"Content-Length: 0x2\r\n\r\nab",
    OK + b"Content-Length: 1_0\r\n\r\nab", OK + b"Content-Length:\r\n\r\nab",
    OK + b"Content-Length: 2 2\r\n\r\nab", OK + "Content-Length: ²\r\n\r\nab".encode("latin-1"),
    OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\nab",
    OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    OK + b"Transfer-Encoding: identity\r\n\r\nab",
    OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    *(OK + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\nab\r\n0\r\n\r\n"
      for size in (b"+2", b"0x2", b"2_", b" 2", b"", b"-2", b"2 x", b"2" * 13)),
    OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    OK + b" folded: x\r\n\r\n", OK + b"no colon\r\n\r\n", OK + b": x\r\n\r\n",
    OK + b"a b: x\r\n\r\n", OK + "ä: x\r\n\r\n".encode("latin-1"), OK + b"a: x\0\r\n\r\n",
    OK + b"a: b\rc: d\r\n\r\n", OK + b"a: b\r\n c\rd\r\n\r\n",
    b"\r\n" + OK + b"\r\n", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1  OK\r\n\r\n",
    b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/1.1 099 OK\r\n\r\n", b"http/1.1 200 OK\r\n\r\n",
    b"HTTP/1.10 200 OK\r\n\r\n", b"HTTP/1.1\x0b200 OK\r\n\r\n"])
def test_what_makes_no_sense(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        receive(data)


@pytest.mark.parametrize("data, body, persists", [
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nab", b"ab", True),    # RFC 9112 §2.2
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nab", b"ab", True),
    (OK + b"Content-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab", b"ab", True),
    (OK + b"Content-Length : 2\r\n\r\nab", b"ab", True),
    (OK + b"Connection: x, CLOSE\r\nContent-Length: 2\r\n\r\nab", b"ab", False),
    (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 2\r\n\r\nab", b"ab", True),
    # a length beside the chunks is none, and whoever sends both is not spoken to again (§6.3)
    (OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab",
     False),
    (OK + b"Transfer-Encoding: chunked\r\n\r\n2 ; x\r\nab\r\n000\r\nA: b\r\nb\r\n\r\n", b"ab",
     True),
    (b"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n", b"", True)])
def test_what_makes_sense(data: bytes, body: bytes, persists: bool) -> None:
    found = receive(data)
    assert (found.body, found.persists) == (body, persists)


@pytest.mark.parametrize("body", [
    b"Content-Length: 200\r\n\r\n" + b"x" * 200, b"\r\n" + b"x" * 200,
    b"Transfer-Encoding: chunked\r\n\r\n" + 20 * (b"a\r\n" + b"x" * 10 + b"\r\n") + b"0\r\n\r\n"])
def test_no_more_than_wanted_is_read(body: bytes) -> None:
    found = receive(OK + body)
    assert found.body == b"x" * 100 and not found.persists


def test_fields_are_text() -> None:
    found = receive(OK + b"X-A:  a \xe4\t\r\nx-a: b\r\n\tc\r\n  d  \r\nE:\r\n\r\n", "HEAD")
    assert found.fields == (("x-a", "a ä"), ("x-a", "b c d"), ("e", ""))


def test_a_request_is_one() -> None:
    assert http.request("POST", "/x?y", (("Host", "h"),), b"{}") == (
        b"POST /x?y HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
    for target, value in (("/ HTTP/1.1", "h"), ("/\r\n", "h"), ("/", "h\r\nA: b"), ("/", "h\n")):
        with pytest.raises(LocalProtocolError):
            http.request("GET", target, (("Host", value),))


# --- proxies -------------------------------------------------------------------------------------

def tunnel(answer: bytes, authority: str = "[2001:db8::1]:443", authorization: str | None = None
           ) -> tuple[int, bytes]:
    """The status that a proxy answers, and what it was asked."""
    ours, theirs = socket.socketpair()
    asked: list[bytes] = []

    def serve() -> None:
        asked.append(theirs.recv(65536))
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
    thread = threading.Thread(target=serve)
    with ours, theirs:
        thread.start()
        try:
            status = http.tunnel(Timed(ours, time.monotonic() + 10), authority, authorization)
        finally:
            thread.join()
        return status, asked[0]


def test_a_tunnel() -> None:
    """RFC 9110 §9.3.6: no answer of success has a body, whatever it says."""
    status, asked = tunnel(b"HTTP/1.0 200 x\r\nContent-Length: 5\r\n\r\n",
                           authorization="Basic eA==")
    assert status == 200 and asked == (
        b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n"
        b"Proxy-Authorization: Basic eA==\r\n\r\n")
    assert tunnel(b"HTTP/1.1 407 no\r\nContent-Length: 2\r\n\r\nno")[0] == 407


def test_a_proxy_does_not_speak_for_the_server() -> None:
    """What came before the TLS handshake would be taken for a part of it."""
    with pytest.raises(ProtocolError):
        tunnel(OK + b"\r\n\x16\x03")
    with pytest.raises(Ended):
        tunnel(OK)
