"""Requests as they come in, and their answers; common/serving.py serves the connections."""

import socket
from collections.abc import Sequence

from ..common import log
from ..common.serving import Connection, Server as Serving, peer_name
from .http import MAX_HEAD, Answer, Find, render, request_line, respond


class Server(Serving):
    """Answers requests on the given listening sockets."""

    def __init__(self, listeners: Sequence[socket.socket], find: Find) -> None:
        """``find`` tells the key authorization of a token; it must not wait."""
        super().__init__(listeners)
        self._find = find

    def received(self, conn: Connection, data: bytes) -> None:
        """Answer if the request head is complete."""
        conn.head += data[:MAX_HEAD - len(conn.head)]
        answer = respond(conn.head, self._find)
        if answer is not None:
            self._respond(conn, answer)

    def _respond(self, conn: Connection, answer: Answer) -> None:
        if log.level >= log.DEBUG:
            line = request_line(conn.head).decode("ascii", "backslashreplace")
            log.debug(f'{peer_name(conn.sock)} "{log.printable(line, 200)}" {answer.status}')
        # A body or a second request may follow: it is read, not looked at
        self.answer(conn, render(answer, request_line(conn.head).startswith(b"HEAD ")))
