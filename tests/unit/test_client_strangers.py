"""What speaks no TLS, refuses it or ends it, and pages that are no answers, in plain words."""

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from harness.ca import CA
from letsencrypt_tiny.client import strangers
from letsencrypt_tiny.client.connection import Connection
from letsencrypt_tiny.client.transport import CutOff, NoAnswer, TransportError, find_route
from letsencrypt_tiny.common import urls

RESET = b"\1\0\0\0" * 2    # struct linger: close(2) sends RST


@pytest.fixture(name="listener")
def _listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def answers(listener: socket.socket, data: bytes | None, reset: bool = False) -> threading.Thread:
    """Answer one hello with ``data``, None: not at all."""
    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            while data is None and peer.recv(65536):    # until it has had enough
                pass
            peer.recv(65536)
            peer.sendall(data or b"")
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def connection(listener: socket.socket, context: ssl.SSLContext, seconds: float = 10
               ) -> Connection:
    url = urls.parse(f"https://127.0.0.1:{listener.getsockname()[1]}/dir")
    return Connection(find_route(url, None), context, seconds)


@pytest.mark.parametrize("data, kind, words", [
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", TransportError, "does not speak TLS"),
    (b"<html>nginx: plain HTTP</html>", TransportError, "does not speak TLS"),
    (b"SSH-2.0-OpenSSH_9.2p1\r\n", TransportError, "does not speak TLS"),
    (b"\x15\x03\x03\x00\x02\x02\x28", TransportError,
     "refuses the TLS handshake: handshake failure .*“SSL_version” and “SSL_cipher_list”"),
    (b"\x15\x03\x03\x00\x02\x02\x46", TransportError, "handshake: protocol version"),
    (b"\x15\x03\x03\x00\x02\x02\x70", TransportError, "handshake: unrecognized name"),
    (b"", CutOff, "closed in the TLS handshake$"),
    (b"\x16\x03\x03\x00\x7a\x02\x00", CutOff, "closed in the TLS handshake$"),
    (None, NoAnswer, "answer-timeout")])
def test_a_handshake_that_fails(listener: socket.socket, data: bytes | None,
                                kind: type[TransportError], words: str) -> None:
    thread = answers(listener, data)
    with pytest.raises(TransportError, match=words) as raised:
        connection(listener, ssl.create_default_context(), 1 if data is None else 10).exchange(
            "GET", "/dir", (), None, 100)
    assert type(raised.value) is kind and "_ssl.c" not in str(raised.value), raised.value
    thread.join()


def test_a_handshake_that_is_reset(listener: socket.socket) -> None:
    thread = answers(listener, b"", reset=True)
    with pytest.raises(CutOff, match="closed in the TLS handshake$"):
        connection(listener, ssl.create_default_context()).exchange("GET", "/dir", (), None, 100)
    thread.join()


@pytest.mark.parametrize("trusted, names, words", [
    (False, ["127.0.0.1"], r"is not trusted: .* \(setting “ca-file”\)$"),
    (True, ["other.example"], "is not trusted: .*IP address mismatch.*127.0.0.1'$")])
def test_a_certificate_that_is_not_trusted(tmp_path_factory: pytest.TempPathFactory,
                                           listener: socket.socket, trusted: bool,
                                           names: list[str], words: str) -> None:
    authority = CA(tmp_path_factory.mktemp("ca"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*authority.server(names))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer, pytest.raises(OSError):
            server.wrap_socket(peer, server_side=True).recv(1)
    thread = threading.Thread(target=serve)
    thread.start()
    context = ssl.create_default_context(cafile=str(authority.root) if trusted else None)
    with pytest.raises(TransportError, match=words):
        connection(listener, context).exchange("GET", "/dir", (), None, 100)
    thread.join()


@pytest.mark.parametrize("body, kind, words", [
    (b"<html><title>Log in</title><script>x</script><p>to the network", "text/html",
     ": “Log in to the network” (does a proxy, "),
    (b"\x1b[2J\r\nhello", "text/plain", ": “\\x1b[2J hello” (does a proxy, "),
    (b"<html></html>", "text/html", ""), (b"words", "application/octet-stream", ""),
    (b"words", "", ""), (b"x" * 100_000, "text/plain", ": “" + "x" * 160 + "…” (does")])
def test_a_page(body: bytes, kind: str, words: str) -> None:
    found = strangers.page(body, kind)
    assert found.startswith(words) and bool(found) == bool(words) and found.isprintable()
