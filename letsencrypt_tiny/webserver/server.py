"""Requests as they come in, and their answers; common/serving.py serves the connections."""

import socket
from collections.abc import Callable, Sequence

from ..common import log
from ..common.serving import Connection, Server as Serving, peer_name
from ..common.wire.visits import Visit
from .http import MAX_HEAD, Answer, Find, is_last, render, request_line, respond, visit


class Server(Serving):
    """Answers requests on the given listening sockets."""

    MAX_CONNECTIONS = 1024 + 64    # a thousand that are idle keep nobody out

    def __init__(self, listeners: Sequence[socket.socket], find: Find,
                 tell: Callable[[Visit], None] = lambda _: None) -> None:
        """``find`` tells the key authorization of a token, ``tell`` is told of each request for
        one; neither must wait."""
        super().__init__(listeners)
        self._find = find
        self._tell = tell

    def received(self, conn: Connection, data: bytes) -> None:
        """Answer if the request head is complete."""
        whole = len(conn.head) + len(data) <= MAX_HEAD
        conn.head += data[:MAX_HEAD - len(conn.head)]
        answer = respond(conn.head, self._find)
        if answer is not None:
            self._respond(conn, answer, whole and is_last(conn.head))

    def _respond(self, conn: Connection, answer: Answer, last: bool) -> None:
        if log.level >= log.DEBUG:
            line = request_line(conn.head).decode("ascii", "backslashreplace")
            log.debug(f'{peer_name(conn.sock)} "{log.printable(line, 200)}" {answer.status}')
        seen = visit(conn.head, answer.status)
        if seen is not None:
            self._tell(seen)
        # A body or a second request may follow: it is read, not looked at
        self.answer(conn, render(answer, request_line(conn.head).startswith(b"HEAD ")), last)
