"""A name server before the CA's, which holds the answer for one name back until it is let go: the
order lasts until somebody has looked."""

import socket
import socketserver
import threading
from contextlib import ExitStack
from typing import Self

from harness.net import free_ports
from harness.serving import Serving

PATIENCE = 60   # seconds; then it answers all the same
_HEADER = 12    # bytes, before the question (RFC 1035 §4.1.1)


class Held:
    """At ``address``, over UDP and TCP (Pebble asks by either, from 2.10 on by the latter); what it
    is asked it asks the server at ``port`` of 127.0.0.1, and ``name`` not before ``release``."""

    def __init__(self, name: str) -> None:
        self.port, own = free_ports(2)
        self.address = f"127.0.0.1:{own}"
        self._released = threading.Event()
        self._stack = ExitStack()
        labels = [label.encode() for label in name.split(".")]
        self._question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        outer = self

        class Datagram(socketserver.BaseRequestHandler):
            """A question and its answer."""

            def handle(self) -> None:
                query, back = self.request
                back.sendto(outer._ask(query), self.client_address)

        class Stream(socketserver.StreamRequestHandler):
            """Questions and their answers, each after its length (RFC 1035 §4.2.2)."""

            def handle(self) -> None:
                while size := self.rfile.read(2):
                    answer = outer._ask(self.rfile.read(int.from_bytes(size, "big")))
                    self.wfile.write(len(answer).to_bytes(2, "big") + answer)

        self._servers = (socketserver.ThreadingUDPServer(("127.0.0.1", own), Datagram),
                         socketserver.ThreadingTCPServer(("127.0.0.1", own), Stream))
        for server in self._servers:
            server.daemon_threads = True

    def __enter__(self) -> Self:
        for server in self._servers:
            self._stack.enter_context(Serving(server))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def release(self) -> None:
        """Answer for all names from now on."""
        self._released.set()

    def _ask(self, query: bytes) -> bytes:
        if query[_HEADER:].lower().startswith(self._question):
            self._released.wait(PATIENCE)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
            onward.settimeout(PATIENCE)
            onward.sendto(query, ("127.0.0.1", self.port))
            return onward.recv(65535)
