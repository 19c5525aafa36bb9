"""A name server that answers whatever a test wants, over TCP; what it doesn't care for BIND does.

>>> with Nameserver("127.0.0.8", {("x.example", "TXT"): odd}) as server:
...     server.asked
"""

import socketserver
import struct
from collections.abc import Callable, Mapping

import dns.flags
import dns.message
import dns.query
import dns.rdatatype

from . import serving
from .bind import PRIMARY

Odd = Callable[[dns.message.Message, dns.message.Message], "dns.message.Message | bytes"]


class Nameserver(serving.Serving):
    """At port 53 of ``address``.  ``answers`` are what it makes, from a question and a good reply
    to it, for a name, or the last labels of names, and a type, "*" being any; ``asked`` are the
    names and types of all questions."""

    def __init__(self, address: str, answers: Mapping[tuple[str, str], Odd]) -> None:
        self.asked: list[tuple[str, str]] = []
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            """Answers one question."""

            def handle(self) -> None:
                """Read it, and answer."""
                size = self.request.recv(2)
                if len(size) < 2:
                    return
                data = self.request.recv(struct.unpack("!H", size)[0])
                answer = outer._answer(dns.message.from_wire(data), answers)
                self.request.sendall(struct.pack("!H", len(answer)) + answer)

        class Server(socketserver.ThreadingTCPServer):
            """Of a port that may have been in use just now."""

            allow_reuse_address = True
            daemon_threads = True

        super().__init__(Server((serving.address(address), 53), Handler))

    def _answer(self, query: dns.message.Message, answers: Mapping[tuple[str, str], Odd]) -> bytes:
        name = query.question[0].name.to_text().rstrip(".").lower()
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        self.asked.append((name, kind))
        reply = dns.query.tcp(query, PRIMARY, timeout=5)
        reply.flags |= dns.flags.RA
        for (end, wanted), odd in answers.items():
            if (name == end or name.endswith("." + end)) and wanted in (kind, "*"):
                made = odd(query, reply)
                return made if isinstance(made, bytes) else made.to_wire()
        return reply.to_wire()
