"""A server that closes connections without a word: what it is sent then is lost, but only twice."""

import socket
import ssl
import threading
from collections.abc import Iterator

import pytest

from harness.ca import CA
from letsencrypt_tiny.client.connections import Connections
from letsencrypt_tiny.client.transport import CutOff, find_route
from letsencrypt_tiny.common import urls

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """It answers the first ``most`` requests of a connection, and closes it under the next."""

    def __init__(self, authority: CA, most: int) -> None:
        self.most = most
        self.connections = 0
        certificate, key = authority.server()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener:
            while True:
                plain, _ = self._listener.accept()
                with plain, self._context.wrap_socket(plain, server_side=True) as sock:
                    if not sock.recv(65536):    # ``close``
                        return
                    self.connections += 1
                    for _ in range(self.most):
                        sock.sendall(ANSWER)
                        if not sock.recv(65536):
                            break

    def close(self, context: ssl.SSLContext) -> None:
        """End it."""
        with socket.create_connection(("127.0.0.1", self.port)) as plain, \
                context.wrap_socket(plain, server_hostname="127.0.0.1"):
            pass
        self._thread.join()


@pytest.fixture(name="context")
def _context(hostile_ca: CA) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(hostile_ca.root))


@pytest.fixture(name="server")
def _server(hostile_ca: CA, context: ssl.SSLContext) -> Iterator[Server]:
    made = Server(hostile_ca, 1)
    yield made
    made.close(context)


def test_one_request_a_connection(server: Server, context: ssl.SSLContext) -> None:
    """It is believed once that a connection is kept, and not a third time, by no thread."""
    url = urls.parse(f"https://127.0.0.1:{server.port}/dir")
    connections = Connections([find_route(url, None)], context, 10)

    def ask() -> bool:
        try:
            return connections.to(url.origin).exchange("GET", "/", (), None, 99).body == b"{}"
        except CutOff:
            return False
    heard = [ask() for _ in range(4)]
    assert heard == [True, False, True, False] and server.connections == 2
    other: list[bool] = []
    thread = threading.Thread(target=lambda: other.extend(ask() for _ in range(3)))
    thread.start()
    thread.join()
    assert other == [True] * 3 and [ask() for _ in range(3)] == [True] * 3
    assert server.connections == 8
    connections.close()


def test_one_that_is_kept(server: Server, context: ssl.SSLContext) -> None:
    """What ends once, idle for long say, is no reason for new ones."""
    server.most = 5
    url = urls.parse(f"https://127.0.0.1:{server.port}/dir")
    connections = Connections([find_route(url, None)], context, 10)
    connection = connections.to(url.origin)
    for _ in range(5):
        connection.exchange("GET", "/", (), None, 99)
    with pytest.raises(CutOff):
        connection.exchange("GET", "/", (), None, 99)
    for _ in range(5):
        connection.exchange("GET", "/", (), None, 99)
    assert server.connections == 2
    connections.close()
