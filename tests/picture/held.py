"""A name server before the CA's, which holds the answer for one name back until it is let go: the
order lasts until somebody has looked."""

import socket
import socketserver
import threading

from harness import serving
from harness.net import free_port

PATIENCE = 60   # seconds; then it answers all the same
_HEADER = 12    # bytes, before the question (RFC 1035 §4.1.1)


class Held(serving.Serving):
    """At ``address``; what it is asked it asks the server at ``port`` of 127.0.0.1, and ``name``
    not before ``release``."""

    def __init__(self, name: str) -> None:
        self.port = free_port()
        self._released = threading.Event()
        labels = [label.encode() for label in name.split(".")]
        question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            """Hands one question on, and the answer back."""

            def handle(self) -> None:
                """Ask, and answer; without an answer there is none."""
                query, back = self.request
                if query[_HEADER:].lower().startswith(question):
                    outer._released.wait(PATIENCE)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
                    onward.settimeout(PATIENCE)
                    onward.sendto(query, ("127.0.0.1", outer.port))
                    back.sendto(onward.recv(65535), self.client_address)

        class Server(socketserver.ThreadingUDPServer):
            """A thread for each question."""

            daemon_threads = True

        server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{server.server_address[1]}"
        super().__init__(server)

    def release(self) -> None:
        """Answer for all names from now on."""
        self._released.set()
