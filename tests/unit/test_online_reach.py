"""Whether an address reaches us: whoever answers there, in bounded time, and without being shown.
"""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import ca
from harness.webserver import read_all
from letsencrypt_tiny.client.online import reach
from letsencrypt_tiny.client.online.reach import Asked, Astray, Unreached
from letsencrypt_tiny.common.names import Identifier
from letsencrypt_tiny.common.wire import challenge

TOKEN, KEY = "t" * 43, "k" * 43
HERE = "127.0.0.1"
Say = Callable[[socket.socket], object]
NAME: Identifier = ("dns", "a.test")
ASKED = Asked(NAME, TOKEN, (KEY,))


class Server:
    """Somebody at a port, who says what the test has them say."""

    def __init__(self, say: Say) -> None:
        self.heard: list[bytes] = []
        self._say = say
        self._socket = socket.create_server((HERE, 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer:
                try:
                    peer.settimeout(4)    # who waits for it for ever hears that it has ended
                    self._say(peer)
                except OSError:
                    pass

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Say], Server]]:
    """Start a server at the port of both HTTP and HTTPS."""
    made: list[Server] = []

    def serve(say: Say) -> Server:
        made.append(Server(say))
        monkeypatch.setattr(reach, "HTTP", made[-1].port)
        monkeypatch.setattr(reach, "HTTPS", made[-1].port)
        return made[-1]
    yield serve
    for server in made:
        server.close()


def http(text: bytes) -> Say:
    def say(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(text)
    return say


def ask(asked: Asked = ASKED, *others: str) -> None:
    reach.http01(asked, HERE, reach.context(), lambda _host: others)


def answer(body: str, head: str = "") -> bytes:
    return f"HTTP/1.1 200 OK\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode("latin-1")


# --- http-01 -------------------------------------------------------------------------------------

@pytest.mark.parametrize("text", [
    answer(f"{TOKEN}.{KEY}"), answer(f"{TOKEN}.{KEY}\r\n \n"),
    f"HTTP/1.0 200\r\n\r\n{TOKEN}.{KEY}".encode(),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    + f"57\r\n{TOKEN}.{KEY}\r\n0\r\n\r\n".encode()])
def test_our_responder(text: bytes, serving: Callable[[Say], Server]) -> None:
    serving(http(text))
    ask()


@pytest.mark.parametrize("identifier, host", [
    (NAME, b"a.test"), (("ip", HERE), b"127.0.0.1"), (("ip", "2001:db8::1"), b"[2001:db8::1]")])
def test_what_is_asked(identifier: Identifier, host: bytes, serving: Callable[[Say], Server]
                       ) -> None:
    """§8.3 of RFC 8555, §4 of RFC 8738."""
    heard: list[bytes] = []

    def say(peer: socket.socket) -> None:
        heard.append(peer.recv(4096))
        peer.sendall(answer(f"{TOKEN}.{KEY}"))
    serving(say)
    ask(Asked(identifier, TOKEN, (KEY,)))
    first, *fields = heard[0].split(b"\r\n")
    assert first == f"GET {challenge.HTTP_PATH}{TOKEN} HTTP/1.1".encode()
    assert b"Host: " + host in fields


def drip(peer: socket.socket) -> None:
    """A byte now and then."""
    peer.recv(4096)
    for byte in answer(f"{TOKEN}.{KEY}"):
        peer.sendall(bytes([byte]))
        time.sleep(0.02)


@pytest.mark.parametrize("say, error, why", [
    (http(b""), Astray, "accepts a connection, and no more"),
    (http(b"\x1b[2J\xff\0"), Astray, "does not speak HTTP that makes sense"),
    (http(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20000), Astray, "HTTP that makes sense"),
    (http(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10_000_000), Astray, "something else"),
    (http(answer("")), Astray, "something else"), (http(answer(TOKEN)), Astray, "something else"),
    (http(answer(f"{KEY}.{KEY}")), Astray, "something else"),
    (http(answer(f"x{TOKEN}.{KEY}")), Astray, "something else"),
    (http(answer(f"{TOKEN[1:]}x.{KEY}")), Astray, "something else"),
    (http(answer(f"{TOKEN}.{'~' * 43}")), Astray, "else"),
    (http(answer(f"{TOKEN}.{'o' * 43}")), Astray, f"another account's key, .* {'o' * 43}"),
    (http(b"HTTP/1.1 404 \x1b[2J\r\n\r\n"), Astray, "HTTP status 404$"),
    (drip, Astray, "no answer in time"), (read_all, Astray, "in time")])
def test_somebody_else(say: Say, error: type[Exception], why: str,
                       serving: Callable[[Say], Server], monkeypatch: pytest.MonkeyPatch) -> None:
    if "in time" in why:
        monkeypatch.setattr(reach, "PATIENCE", 0.8)
    serving(say)
    began = time.monotonic()
    with pytest.raises(error, match=why) as caught:
        ask()
    assert time.monotonic() - began < 3
    assert str(caught.value).isprintable() and len(str(caught.value)) < 400


def test_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "HTTP", 1)
    with pytest.raises(Unreached, match=r"port 1 can't be connected to \(Connection refused\)"):
        ask()
    with pytest.raises(Unreached) as caught:
        reach.http01(ASKED, "2001:db8::1", reach.context(), lambda _host: ())
    assert caught.value.no_route


@pytest.mark.parametrize("location", [
    "http://b.test/", "http://10.0.0.1/", "http://169.254.169.254/x", "http://[::1]/",
    "https://b.test/x"])
def test_redirects_lead_to_the_internet_only(location: str, serving: Callable[[Say], Server]
                                             ) -> None:
    """Whoever answers may not send us to our neighbours."""
    serving(http(f"HTTP/1.1 302 x\r\nLocation: {location}\r\n\r\n".encode()))
    with pytest.raises(Astray, match="which has no address that a CA goes to"):
        ask(ASKED, "10.0.0.1", "127.0.0.1", "fd00::1", "::ffff:127.0.0.1", "0.0.0.0")


@pytest.mark.parametrize("location", [
    "ftp://a.test/", "http://a.test:22/", "https://a.test:80/", "//a.test:0/", "http:///x",
    "http://user@a.test/", "http://[/", "\x7f", "http://a.test/ x", "", "http://a.test:x/"])
def test_redirects_that_no_ca_follows(location: str, serving: Callable[[Say], Server]) -> None:
    serving(http(f"HTTP/1.1 302 x\r\nLocation: {location}\r\n\r\n".encode()))
    with pytest.raises(Astray, match="where no CA goes"):
        ask()


# --- tls-alpn-01 ---------------------------------------------------------------------------------

def tls(tmp_path: Path, extension: str, protocols: tuple[str, ...] = ("acme-tls/1",)) -> Say:
    """A TLS server whose certificate has one more extension."""
    key, chain = tmp_path / "key.pem", tmp_path / "chain.pem"
    key.write_text(ca.genkey())
    ca.openssl("req", "-x509", "-key", str(key), "-subj", "/CN=a.test", "-out", str(chain),
               *(("-addext", f"1.3.6.1.5.5.7.1.31={extension}") if extension else ()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(list(protocols))

    def say(peer: socket.socket) -> None:
        peer.settimeout(5)
        with context.wrap_socket(peer, server_side=True) as wrapped:
            wrapped.recv(1)
    return say


DIGEST = challenge.digest(challenge.key_authorization(TOKEN, KEY)).hex(":")


@pytest.mark.parametrize("identifier", [NAME, ("ip", HERE), ("ip", "2001:db8::1")])
def test_our_tls_responder(identifier: Identifier, tmp_path: Path,
                           serving: Callable[[Say], Server]) -> None:
    serving(tls(tmp_path, f"critical,DER:04:20:{DIGEST}"))
    reach.tls_alpn01(Asked(identifier, TOKEN, (KEY,)), HERE, reach.acme_tls_context())


@pytest.mark.parametrize("extension, protocols", [
    (f"critical,DER:04:20:{DIGEST}", ("http/1.1",)), ("", ("acme-tls/1",)),
    (f"critical,DER:04:20:{DIGEST[:-2]}{'00' if DIGEST[-2:] != '00' else '01'}", ("acme-tls/1",)),
    (f"DER:04:20:{DIGEST}", ("acme-tls/1",))])
def test_another_tls_server(extension: str, protocols: tuple[str, ...], tmp_path: Path,
                            serving: Callable[[Say], Server]) -> None:
    serving(tls(tmp_path, extension, protocols))
    with pytest.raises(Astray):
        reach.tls_alpn01(ASKED, HERE, reach.acme_tls_context())


@pytest.mark.parametrize("say", [
    http(b"junk \x1b[2J"), http(b""), drip, read_all])
def test_no_tls(say: Say, serving: Callable[[Say], Server], monkeypatch: pytest.MonkeyPatch
                ) -> None:
    monkeypatch.setattr(reach, "PATIENCE", 0.8)
    serving(say)
    began = time.monotonic()
    with pytest.raises(Astray):
        reach.tls_alpn01(ASKED, HERE, reach.acme_tls_context())
    assert time.monotonic() - began < 3
