"""How a responder serves the world: one selector and one thread for all sockets, so that no peer
can hold up another.

Each connection carries one question.  It may last DEADLINE seconds, however busy it looks.  When
more than MAX_CONNECTIONS are open, one of the peer that has most of them makes room: neither idle
connections nor a flood of new ones from one address stop the validation by another.
"""

import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence

from . import log
from .errors import UsageError

TYPE_CHECKING = False   # see record.py
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_READ = 8192        # bytes read at a time
MAX_TRAILER = 65536    # bytes read and thrown away after the answer

_MAPPED = bytes(10) + b"\xff\xff"   # an IPv4 address where both are listened to (RFC 4291 §2.5.5.2)


class Connection:
    """A question as far as it came, then what is sent after the answer."""

    __slots__ = ("sock", "peer", "deadline", "head", "trailer")

    def __init__(self, sock: socket.socket, peer: bytes, deadline: float) -> None:
        self.sock = sock
        self.peer = peer   # whose place it takes
        self.deadline = deadline
        self.head = b""
        self.trailer = -1  # bytes thrown away; negative before the answer


class Server:
    """Accepts on the given listening sockets and serves until an exception ends it.

    What is asked and answered is for a subclass to say, in ``received``.
    """

    DEADLINE = 10.0        # seconds from accept to close
    MAX_CONNECTIONS = 128

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self.selector = selectors.DefaultSelector()
        # Oldest first, hence also the next deadline first.
        self.connections: dict[Connection, None] = {}
        self.places: dict[bytes, int] = {}   # that each peer takes
        for listener in listeners:
            # A peer may be gone between select() and accept(), which must not block then.
            listener.setblocking(False)
            self.selector.register(listener, selectors.EVENT_READ)

    def received(self, conn: Connection, data: bytes) -> None:
        """Deal with more of a question: ``answer`` it, ``close`` it, or wait for the rest."""
        raise NotImplementedError

    def pause(self) -> float | None:
        """Do what is due by the clock; return the seconds until there is more, None if never."""
        return None

    def watch(self, sock: socket.socket, ready: Callable[[], None], writing: bool = False) -> None:
        """Call ``ready`` whenever a socket that is no connection can be read, or written to."""
        events = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
        if sock in self.selector.get_map():
            self.selector.modify(sock, events, ready)
        else:
            self.selector.register(sock, events, ready)

    def forget(self, sock: socket.socket) -> None:
        """Watch it no more."""
        self.selector.unregister(sock)

    def serve(self) -> "NoReturn":
        """Answer for ever."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for the next event or deadline and deal with it."""
        timeout = self.pause()
        while self.connections:
            oldest = next(iter(self.connections))
            left = oldest.deadline - time.monotonic()
            if left > 0:
                timeout = left if timeout is None else min(left, timeout)
                break
            self.close(oldest)
        events = [key for key, _ in self.selector.select(timeout)]
        # Questions that are here go first: an accept may close the oldest connection.
        for key in events:
            if isinstance(key.data, Connection):
                self.receive(key.data)
        for key in events:
            if key.data is None and isinstance(key.fileobj, socket.socket):
                self.accept(key.fileobj)
            elif callable(key.data):
                key.data()

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
        them the oldest that isn't answered yet; if all are, the oldest."""
        most = max(self.places.values())
        greedy = [conn for conn in self.connections
                  if self.places[conn.peer] == most and conn is not newcomer]
        return next((conn for conn in greedy if conn.trailer < 0), greedy[0])

    def receive(self, conn: Connection) -> None:
        """Read what has come on ``conn``."""
        try:
            data = conn.sock.recv(MAX_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close(conn)
        elif conn.trailer < 0:
            self.received(conn, data)
        else:
            conn.trailer += len(data)
            if conn.trailer > MAX_TRAILER:
                self.close(conn)

    def answer(self, conn: Connection, answer: bytes) -> None:
        """Send the answer, all that there is, and wait for the peer to close (RFC 9112 §9.6).

        To close while something unread is left would reset the connection, and the peer could
        lose the answer.
        """
        conn.trailer = 0
        try:
            # Less than 3 kB: the send buffer of a new socket always takes that.
            conn.sock.send(answer)
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


def peer_of(sock: socket.socket, address: "Any") -> bytes:
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


def listening_socket(argument: str) -> socket.socket:
    """Return the listening stream socket with that descriptor.  Raises UsageError."""
    sock = inherited_socket(argument)
    if sock.type != socket.SOCK_STREAM \
            or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise UsageError(f"descriptor {sock.fileno()} is no listening stream socket")
    return sock


def inherited_socket(argument: str) -> socket.socket:
    """Return the socket with that descriptor.  Raises UsageError."""
    try:
        fd = int(argument)
    except ValueError:
        raise UsageError(f"{log.printable(argument)}: not a descriptor") from None
    try:
        return socket.socket(fileno=fd)
    except (OSError, ValueError, OverflowError) as exc:
        raise UsageError(f"descriptor {fd} is no socket: {exc}") from None
