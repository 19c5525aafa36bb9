"""One selector and one thread serve all sockets, so no peer can hold up another.

Each connection carries one request.  It may last DEADLINE seconds, however busy it looks.  When
more than MAX_CONNECTIONS are open, one of the peer that has most of them makes room: neither idle
connections nor a flood of new ones from one address stop the validation by another.
"""

import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..common import log
from ..common.wire.visits import Visit
from .http import MAX_HEAD, Answer, Find, render, request_line, respond, visit

MAX_TRAILER = 65536    # bytes read and thrown away after the answer

_MAPPED = bytes(10) + b"\xff\xff"   # an IPv4 address where both are listened to (RFC 4291 §2.5.5.2)


class Connection:
    """A request head as far as it came, then what is sent after the answer."""

    __slots__ = ("sock", "peer", "deadline", "head", "trailer")

    def __init__(self, sock: socket.socket, peer: bytes, deadline: float) -> None:
        self.sock = sock
        self.peer = peer   # whose place it takes
        self.deadline = deadline
        self.head = b""
        self.trailer = -1  # bytes thrown away; negative before the answer


class Server:
    """Accepts on the given listening sockets and answers until an exception ends it."""

    DEADLINE = 10.0        # seconds from accept to close
    MAX_CONNECTIONS = 128

    def __init__(self, listeners: Sequence[socket.socket], find: Find,
                 tell: Callable[[Visit], None] = lambda _: None) -> None:
        """``find`` tells the key authorization of a token, ``tell`` is told of each request for
        one; neither must wait."""
        self._find = find
        self._tell = tell
        self.selector = selectors.DefaultSelector()
        # Oldest first, hence also the next deadline first.
        self.connections: dict[Connection, None] = {}
        self.places: dict[bytes, int] = {}   # that each peer takes
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
        """Accept one connection; if there are too many then, one is closed to make room."""
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as exc:
            # Out of descriptors or memory: the peer waits in the queue, and we don't spin.
            log.debug(f"cannot accept a connection: {exc.strerror}")
            if self.connections:
                self.close(self.dispensable())
            else:
                time.sleep(0.1)
            return
        sock.setblocking(False)
        conn = Connection(sock, peer_of(sock, address), time.monotonic() + self.DEADLINE)
        self.connections[conn] = None
        self.places[conn.peer] = self.places.get(conn.peer, 0) + 1
        self.selector.register(sock, selectors.EVENT_READ, conn)
        if len(self.connections) > self.MAX_CONNECTIONS:
            self.close(self.dispensable(conn))
        self.receive(conn)

    def dispensable(self, newcomer: Connection | None = None) -> Connection:
        """Return the connection to close first, not the ``newcomer``: of the peer that has most of
        them the oldest whose request isn't complete; if all are, the oldest."""
        most = max(self.places.values())
        greedy = [conn for conn in self.connections
                  if self.places[conn.peer] == most and conn is not newcomer]
        return next((conn for conn in greedy if conn.trailer < 0), greedy[0])

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
            line = request_line(conn.head).decode("ascii", "backslashreplace")
            log.debug(f'{peer_name(conn.sock)} "{log.printable(line, 200)}" {answer.status}')
        seen = visit(conn.head, answer.status)
        if seen is not None:
            self._tell(seen)
        response = render(answer, request_line(conn.head).startswith(b"HEAD "))
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
            self.places[conn.peer] -= 1
            if not self.places[conn.peer]:
                del self.places[conn.peer]
            self.selector.unregister(conn.sock)
            conn.sock.close()


def peer_of(sock: socket.socket, address: Any) -> bytes:
    """Return whose a connection is: an IPv4 address, an IPv6 network of 64 bits, which one host
    has to itself (RFC 4291 §2.5.1), or the user of a process at a UNIX socket."""
    if sock.family == socket.AF_INET:
        return socket.inet_pton(socket.AF_INET, address[0])
    if sock.family == socket.AF_INET6:
        packed = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
        return packed[12:] if packed.startswith(_MAPPED) else packed[:8]
    size = struct.calcsize("3i")   # pid, uid, gid
    return b"uid %d" % struct.unpack("3i", sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, size))[1]


def peer_name(sock: socket.socket) -> str:
    """Return the address and port of the peer, or "unix"."""
    try:
        name = sock.getpeername()
    except OSError:
        return "?"
    return f"{name[0]} port {name[1]}" if isinstance(name, tuple) else "unix"
