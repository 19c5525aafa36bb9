"""What clients ask for, each at its socket: hostile, and each may do what it likes to itself only.

Who doesn't read its answers isn't read from; who breaks the protocol, or ends, has all that it
wanted presented taken back.
"""

import socket
from collections.abc import Iterable

from ..common import log
from ..common.errors import ProtocolError
from ..common.serving import Server
from ..common.wire import responder as wire
from .presented import Presented

MAX_UNSENT = 1 << 20    # bytes of answers: who leaves more unread is served no more


class Door:
    """The socket of one client."""

    def __init__(self, sock: socket.socket, presented: "Presented[Door]", server: Server) -> None:
        """It is served by ``server`` from now on, and may change what is ``presented``."""
        self._sock = sock
        self._presented = presented
        self._server = server
        self._lines = wire.Lines()
        self._answers = b""      # not sent yet
        sock.setblocking(False)
        server.watch(sock, self.ready)

    def ready(self) -> None:
        """Go on: with what is to be sent, else with what has come."""
        try:
            if self._answers:
                self._flush()
            else:
                self._receive()
        except BlockingIOError:
            pass
        except (OSError, ProtocolError) as exc:
            log.warning(f"a client is not served any more: {exc}")
            self._end()

    def _receive(self) -> None:
        data = self._sock.recv(wire.MAX_LINE)
        if not data:
            self._end()
            return
        for line in self._lines.feed(data):
            message = wire.parse_asked(line)
            about = message.challenge
            if isinstance(message, wire.Present):
                answer = self._presented.add(self, about)
                log.debug(f"{about.identifier[1]}: {type(answer).__name__.lower()}")
                self._answers += wire.format_line(answer)
            else:
                log.debug(f"{about.identifier[1]}: taken back")
                tell(self._presented.remove(self, about))
        self._flush()

    def tell(self, answer: wire.Answered) -> None:
        """Answer later than at once."""
        if len(self._answers) > MAX_UNSENT:
            self._sock.shutdown(socket.SHUT_RDWR)   # as is noticed when it is written to next
            return
        self._answers += wire.format_line(answer)
        self._server.watch(self._sock, self.ready, writing=True)

    def _flush(self) -> None:
        """Send what there is; the rest when there is room for it."""
        try:
            if self._answers:
                self._answers = self._answers[self._sock.send(self._answers):]
        finally:
            self._server.watch(self._sock, self.ready, writing=bool(self._answers))

    def _end(self) -> None:
        self._server.forget(self._sock)
        self._sock.close()
        tell(self._presented.remove_all(self))


def tell(ready: "Iterable[tuple[Door, wire.Ready]]") -> None:
    """Let clients know that their turn has come."""
    for door, answer in ready:
        log.debug(f"{answer.challenge.identifier[1]}: ready")
        door.tell(answer)
