"""The UNIX socket on which any number of conversations are held."""

import operator
import os
import signal
import socket
import socketserver
import stat
import struct
import sys
import time
from collections import Counter
from typing import Any, NoReturn

from ..common import log, shortage, trusted
from ..common.errors import ConfigError, Error
from .conversation import CHUNK, ENDING, Budget, Peer, Signer, converse

SEND_TIME = 30.0      # seconds for a client to take an answer
IDLE_TIME = 60.0      # seconds after which an idle connection has to make room for a new one
MAX_CONNECTIONS = 32  # a thread each


class Connection(Peer):
    """The peer at the other end of a UNIX stream socket.

    ``process`` is its user and the number of its process: behind one of sshd's, for instance,
    there is one host.
    """

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self.name = name
        size = struct.calcsize("3i")
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                                                          size))
        self.user, self.process = uid, (uid, pid)

    def receive(self, timeout: float | None) -> bytes:
        self._sock.settimeout(timeout)
        return self._sock.recv(CHUNK)

    def send(self, data: bytes) -> None:
        self._sock.settimeout(SEND_TIME)
        self._sock.sendall(data)

    def hang_up(self) -> None:
        """Make the conversation see its end."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on a UNIX socket of mode 0600, which it removes at the end of its ``with`` block.

    SIGINT and SIGTERM are blocked from the moment the socket is made until ``serve``, and again
    when it is being removed.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: str, signer: Signer) -> None:
        """Raises ConfigError for a place that others could tamper with, Error otherwise."""
        _check_place(path)
        self.path = os.path.abspath(path)
        self._signer = signer
        self._count = 0
        self._connections: dict[Any, Connection] = {}
        self._budget = Budget()
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        umask = os.umask(0o177)
        try:
            super().__init__(path, _Handler)
            info = os.lstat(path)
        except OSError as exc:
            raise Error(f"socket {path}: cannot make it: {exc.strerror or exc}") from exc
        finally:
            os.umask(umask)
        self._identity = (info.st_dev, info.st_ino)

    def serve(self) -> NoReturn:
        """Serve clients until a signal handler raises an exception."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
        while True:
            # The time only matters for a signal that comes right before the wait begins
            self.serve_forever(poll_interval=2)

    def __exit__(self, *exception: object) -> None:
        """Close and remove the socket, unless another one has taken its place meanwhile."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self.server_close()
        try:
            info = os.lstat(self.path)
            if (info.st_dev, info.st_ino) == self._identity:
                os.unlink(self.path)
        except FileNotFoundError:
            pass
        except OSError as exc:
            log.error(f"socket {self.path}: cannot remove it: {exc.strerror}")

    # What socketserver calls, in this order

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Make room for the connection, or refuse it."""
        self._count += 1
        quiet = not self._budget.allows()
        connection = Connection(request, str(self._count))
        connection.quiet = quiet
        if len(self._connections) >= MAX_CONNECTIONS and not self._make_room(connection):
            if not quiet:
                log.warning(f"[{self._count}] refused: {MAX_CONNECTIONS} connections are busy")
            return False
        self._connections[request] = connection
        return True

    def _make_room(self, newcomer: Connection) -> bool:
        """Hang up on a connection that others need less than the newcomer; False if none is.

        Its thread notices in its own time, a few more threads than connections do no harm; or it
        has ended by itself since.
        """
        there = list(self._connections.items())
        sock = (_greediest([(peer.process, peer, sock) for sock, peer in there], newcomer.process)
                or _greediest([(peer.user, peer, sock) for sock, peer in there], newcomer.user))
        if sock is None:
            idle = [(peer.waiting_since, id(sock), sock) for sock, peer in there
                    if peer.waiting_since is not None]
            if not idle or min(idle)[0] > time.monotonic() - IDLE_TIME:
                return False
            sock = min(idle)[2]
        dismissed = self._connections.pop(sock, None)
        if dismissed is not None:
            dismissed.hang_up()
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start the conversation's thread, which leaves the signals to the main thread: where
        that one blocks them, none of them would."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            super().process_request(request, client_address)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def converse(self, sock: socket.socket) -> None:
        """Hold a conversation, in a thread of its own."""
        peer = self._connections.get(sock)
        if peer is None:
            return  # dismissed already
        if not peer.quiet:
            uid, pid = peer.process
            log.info(f"[{peer.name}] connection of user {uid}, process {pid}")
        converse(peer, self._signer, peer.name, self._budget)
        if not peer.quiet:
            log.info(f"[{peer.name}] end of connection")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A conversation failed for a reason nobody thought of: the others go on.

        Without memory none would: a new process has some.
        """
        if shortage.is_shortage(sys.exc_info()[1]):
            self.__exit__()
            shortage.end()
        log.error(f"a conversation failed: {sys.exc_info()[1]!r}")
        if log.level >= log.DEBUG:
            import traceback   # main() has loaded it, before it was confined
            traceback.print_exc()

    def shutdown_request(self, request: Any) -> None:
        """Every conversation ends here."""
        self._connections.pop(request, None)
        super().shutdown_request(request)


class _Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.converse(self.request)


def _greediest(connections: list[tuple[object, Connection, Any]], newcomer: object) -> Any:
    """Return the socket of the connection that has to go, of the owner that has most of them.

    ``connections`` are their owners, themselves and their sockets, the oldest first.  None if that
    owner would have fewer than the ``newcomer`` then.
    """
    places = Counter(owner for owner, _, _ in connections)
    owner, most = max(places.items(), key=operator.itemgetter(1))
    if most <= places[newcomer] + 1:
        return None
    greedy = [(peer, sock) for other, peer, sock in connections if other == owner]
    # whoever has asked for nothing yet, then who waits, then who is served
    return min(greedy, key=lambda item: (item[0].spoken, item[0].waiting_since is None))[1]


def _check_place(path: str) -> None:
    directory = os.path.dirname(path) or "."
    try:
        info = os.stat(directory)
    except OSError as exc:
        raise ConfigError(f"socket {path}: {directory}: {exc.strerror}") from exc
    if not stat.S_ISDIR(info.st_mode):
        raise ConfigError(f"socket {path}: {directory} is not a directory")
    if info.st_mode & 0o022:
        raise ConfigError(f"socket {path}: others may write in {directory} "
                          f"(mode {stat.S_IMODE(info.st_mode):04o}): choose another directory")
    if info.st_uid not in (0, os.getuid()):
        raise ConfigError(f"socket {path}: {directory} belongs to another user (uid "
                          f"{info.st_uid}): choose another directory")
    try:   # and the way to it: who can rename a directory there decides who is connected to
        os.close(trusted.open_directory(trusted.absolute(directory)))
    except Error as exc:
        raise ConfigError(f"socket {path}: {exc}") from exc
    if os.path.lexists(path):
        raise Error(f"socket {path}: exists already; if no other signer runs there, remove it")
