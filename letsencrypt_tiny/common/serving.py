"""How a responder serves the world: one epoll(7) and one thread for all sockets, so that no peer
can hold up another.

Each connection carries one question.  It may last DEADLINE seconds, however busy it looks.  When
more than MAX_CONNECTIONS are open, one of the peer that has most of them makes room: neither idle
connections nor a flood of new ones from one address stop the validation by another.

A question that has come with its connection, and whose peer will send no more, costs seven system
calls: epoll(7) never sees it.
"""

import functools
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from . import log
from .errors import UsageError

TYPE_CHECKING = False   # see record.py
if TYPE_CHECKING:
    from typing import Any, NoReturn

MAX_READ = 8192        # bytes read at a time
MAX_TRAILER = 65536    # bytes read and thrown away after the answer
ACCEPTS = 16           # connections accepted before those that are there have their turn
PAUSE = 1.0            # seconds that a signal is not noticed if it comes right before a wait begins

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
        self.poll = select.epoll()
        # By descriptor; oldest first, hence also the next deadline first.
        self.connections: dict[int, Connection] = {}
        self.places: dict[bytes, int] = {}   # that each peer takes
        self._others: dict[int, Callable[[], None]] = {}   # sockets that are no connections
        for listener in listeners:
            # A peer may be gone between epoll_wait() and accept(), which must not block then.
            listener.setblocking(False)
            self.watch(listener, functools.partial(self.accept, listener))

    def received(self, conn: Connection, data: bytes) -> None:
        """Deal with more of a question: ``answer`` it, ``close`` it, or wait for the rest."""
        raise NotImplementedError

    def pause(self) -> float | None:
        """Do what is due by the clock; return the seconds until there is more, None if never."""
        return None

    def watch(self, sock: socket.socket, ready: Callable[[], None], writing: bool = False) -> None:
        """Call ``ready`` whenever a socket that is no connection can be read, or written to."""
        events = select.EPOLLOUT if writing else select.EPOLLIN
        number = sock.fileno()
        if number in self._others:
            self.poll.modify(number, events)
        else:
            self.poll.register(number, events)
        self._others[number] = ready

    def forget(self, sock: socket.socket) -> None:
        """Watch it no more."""
        self.poll.unregister(sock)
        del self._others[sock.fileno()]

    def serve(self) -> "NoReturn":
        """Answer for ever."""
        while True:
            self.step()

    def step(self) -> None:
        """Wait for the next event or deadline and deal with it."""
        due = self.pause()
        timeout = PAUSE if due is None else min(due, PAUSE)
        while self.connections:
            oldest = next(iter(self.connections.values()))
            left = oldest.deadline - time.monotonic()
            if left > 0:
                timeout = min(left, timeout)
                break
            self.close(oldest)
        # Questions that are here go first: an accept may close the oldest connection.
        others: list[int] = []
        for number, _ in self.poll.poll(timeout):
            conn = self.connections.get(number)
            if conn is not None:
                self.receive(conn)
            else:
                others.append(number)
        for number in others:
            ready = self._others.get(number)
            if ready is not None:
                ready()

    def accept(self, listener: socket.socket) -> None:
        """Accept a few connections; where there are too many then, others are closed."""
        for _ in range(ACCEPTS):
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
            self._enter(Connection(sock, peer_of(sock, address), time.monotonic() + self.DEADLINE))

    def _enter(self, conn: Connection) -> None:
        """Take a new connection; who has asked already, and is answered, takes no place."""
        number = conn.sock.fileno()
        self.connections[number] = conn
        self.places[conn.peer] = self.places.get(conn.peer, 0) + 1
        self.receive(conn)
        if self.connections.get(number) is conn:
            self.poll.register(number, select.EPOLLIN)
            if len(self.connections) > self.MAX_CONNECTIONS:
                self.close(self.dispensable(conn))

    def dispensable(self, newcomer: Connection | None = None) -> Connection:
        """Return the connection to close first, not the ``newcomer``: of the peer that has most of
        them the oldest that isn't answered yet; if all are, the oldest."""
        most = max(self.places.values())

        def greedy() -> Iterator[Connection]:
            return (conn for conn in self.connections.values()
                    if self.places[conn.peer] == most and conn is not newcomer)
        for conn in greedy():
            if conn.trailer < 0:
                return conn
        return next(greedy())

    def receive(self, conn: Connection) -> None:
        """Read what has come on ``conn``."""
        try:
            data = conn.sock.recv(MAX_READ, socket.MSG_DONTWAIT)
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

    def answer(self, conn: Connection, answer: bytes, last: bool = False) -> None:
        """Send the answer, all that there is, and wait for the peer to close (RFC 9112 §9.6),
        unless what it has sent, all of it read, was the ``last`` that it sends.

        To close while something unread is left would reset the connection, and the peer could
        lose the answer.
        """
        conn.trailer = 0
        try:
            # Less than 3 kB: the send buffer of a new socket always takes that.
            conn.sock.send(answer, socket.MSG_DONTWAIT)
            if not last:
                conn.sock.shutdown(socket.SHUT_WR)
                return
        except OSError:
            pass
        self.close(conn)

    def close(self, conn: Connection) -> None:
        """Forget a connection, answered or not."""
        if self.connections.get(conn.sock.fileno()) is not conn:
            return
        del self.connections[conn.sock.fileno()]
        if self.places[conn.peer] == 1:
            del self.places[conn.peer]
        else:
            self.places[conn.peer] -= 1
        conn.sock.close()    # epoll(7) forgets it, for no other descriptor is of it


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
