"""Who validates a challenge is shown its certificate; everybody else gets a fatal alert.

Nothing of TLS is begun for who doesn't speak “acme-tls/1” or asks for another name.
"""

import socket
from collections.abc import Callable, Sequence

from ..common import log
from ..common.serving import Connection, Server as Serving, peer_name
from ..common.wire.responder import Challenge
from .doors import Door, tell
from .hello import (NO_APPLICATION_PROTOCOL, PROTOCOL, UNRECOGNIZED_NAME, Alert, Hello, parse)
from .presented import Presented

# What to send and whether that is all, for what has come (handshake.py)
Feed = Callable[[bytes], tuple[bytes, bool]]
Begin = Callable[[Challenge], Feed]


class Server(Serving):
    """Answers validations on the given listening sockets."""

    def __init__(self, listeners: Sequence[socket.socket], doors: Sequence[socket.socket],
                 presented: Presented[Door], begin: Begin) -> None:
        """Clients ask at ``doors`` what is to be ``presented``; ``begin`` a handshake."""
        super().__init__(listeners)
        self._presented = presented
        self._begin = begin
        self._handshakes: dict[Connection, tuple[Challenge, Feed]] = {}
        for sock in doors:
            Door(sock, presented, self)

    def pause(self) -> float | None:
        """Let those have their turn who wait for it."""
        tell(self._presented.turns())
        return self._presented.pause()

    def received(self, conn: Connection, data: bytes) -> None:
        """Go on with a ClientHello, or with the handshake that has followed it."""
        if conn not in self._handshakes:
            conn.head += data
            try:
                hello = parse(conn.head)
                if hello is None:
                    return
                challenge = self._validated(hello)
            except Alert as alert:
                log.debug(f"{peer_name(conn.sock)}: {alert}")
                self.answer(conn, alert.record())
                return
            log.debug(f"{peer_name(conn.sock)}: validates {log.printable(hello.server_name)}")
            self._handshakes[conn] = challenge, self._begin(challenge)
            data, conn.head = conn.head, b""
        challenge, feed = self._handshakes[conn]
        reply, over = feed(data)
        if over:
            self._presented.validated(challenge)
            self.answer(conn, reply)
            return
        try:
            conn.sock.send(reply, socket.MSG_DONTWAIT)   # 1 kB
        except OSError:
            self.close(conn)

    def _validated(self, hello: Hello) -> Challenge:
        """Return the challenge that a client validates (RFC 8737 §3); raises Alert."""
        if PROTOCOL not in hello.protocols:
            raise Alert(NO_APPLICATION_PROTOCOL)   # RFC 7301 §3.2
        challenge = self._presented.find(hello.server_name)
        if challenge is None:
            raise Alert(UNRECOGNIZED_NAME)         # RFC 6066 §3
        return challenge

    def answer(self, conn: Connection, answer: bytes, last: bool = False) -> None:
        """Send the last of it."""
        self._handshakes.pop(conn, None)
        super().answer(conn, answer, last)

    def close(self, conn: Connection) -> None:
        """Forget a connection and its handshake."""
        self._handshakes.pop(conn, None)
        super().close(conn)
