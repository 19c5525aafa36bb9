"""One selector and one thread serve all sockets, so no peer can hold up another.

Each connection carries one request.  It may last DEADLINE seconds, however busy it looks, and
when MAX_CONNECTIONS are open, the oldest makes room for the next: idle connections don't stop a
validation.
"""

import selectors
import socket
import time
from collections.abc import Sequence
from typing import NoReturn

from ..common import log
from .http import MAX_HEAD, Answer, Find, render, respond

MAX_TRAILER = 65536    # bytes read and thrown away after the answer


class Connection:
    """A peer: its request head as far as it came, then what it sends after the answer."""

    __slots__ = ("sock", "deadline", "head", "trailer")

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self.sock = sock
        self.deadline = deadline
        self.head = b""
        self.trailer = -1  # bytes thrown away; negative before the answer


class Server:
    """Accepts on the given listening sockets and answers until an exception ends it."""

    DEADLINE = 10.0        # seconds from accept to close
    MAX_CONNECTIONS = 128

    def __init__(self, listeners: Sequence[socket.socket], find: Find) -> None:
        """``find`` tells the key authorization of a token; it must not wait."""
        self._find = find
        self.selector = selectors.DefaultSelector()
        # Oldest first, hence also the next deadline first.
        self.connections: dict[Connection, None] = {}
        for listener in listeners:
            # A peer may be gone between select() and accept(), which must not block then.
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ)

    def serve(self) -> NoReturn:
        """Answer requests for ever."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for the next event or deadline and deal with it."""
        timeout = None
        while self.connections:
            oldest = next(iter(self.connections))
            timeout = oldest.deadline - time.monotonic()
            if timeout > 0:
                break
            self.close(oldest)
            timeout = None
        events = [key for key, _ in self.selector.select(timeout)]
        # Requests that are here go first: an accept may close the oldest connection.
        for key in events:
            if isinstance(key.data, Connection):
                self.receive(key.data)
        for key in events:
            if key.data is None and isinstance(key.fileobj, socket.socket):
                self.accept(key.fileobj)

    def accept(self, listener: socket.socket) -> None:
        """Accept one connection; if there are too many, the oldest is closed to make room."""
        if len(self.connections) >= self.MAX_CONNECTIONS:
            self.close(next(iter(self.connections)))
        try:
            sock, _ = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as exc:
            # Out of descriptors or memory: the peer waits in the queue, and we don't spin.
            log.debug(f"cannot accept a connection: {exc.strerror}")
            if self.connections:
                self.close(next(iter(self.connections)))
            else:
                time.sleep(0.1)
            return
        sock.setblocking(False)
        conn = Connection(sock, time.monotonic() + self.DEADLINE)
        self.connections[conn] = None
        self.selector.register(sock, selectors.EVENT_READ, conn)
        self.receive(conn)

    def receive(self, conn: Connection) -> None:
        """Read what has come on ``conn``, and answer if the request is complete."""
        try:
            data = conn.sock.recv(MAX_HEAD)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(conn)
        elif conn.trailer < 0:
            conn.head += data[:MAX_HEAD - len(conn.head)]
            answer = respond(conn.head, self._find)
            if answer is not None:
                self.answer(conn, answer)
        else:
            conn.trailer += len(data)
            if conn.trailer > MAX_TRAILER:
                self.close(conn)

    def answer(self, conn: Connection, answer: Answer) -> None:
        """Send the answer and wait for the peer to close (RFC 9112 §9.6).

        To close while something unread is left (a body, a second request) would reset the
        connection, and the peer could lose the answer.
        """
        if log.level >= log.DEBUG:
            line = conn.head.partition(b"\r\n")[0].decode("ascii", "backslashreplace")
            log.debug(f'{peer_name(conn.sock)} "{log.printable(line, 200)}" {answer.status}')
        response = render(answer, conn.head.startswith(b"HEAD "))
        conn.trailer = 0
        try:
            # Less than 0.5 kB: the send buffer of a new socket always takes that.
            conn.sock.send(response)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(conn)

    def close(self, conn: Connection) -> None:
        """Forget a connection, answered or not."""
        if conn in self.connections:
            del self.connections[conn]
            self.selector.unregister(conn.sock)
            conn.sock.close()


def peer_name(sock: socket.socket) -> str:
    """Return the address and port of the peer, or "unix"."""
    try:
        name = sock.getpeername()
    except OSError:
        return "?"
    return f"{name[0]} port {name[1]}" if isinstance(name, tuple) else "unix"
