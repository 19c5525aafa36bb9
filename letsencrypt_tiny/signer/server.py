"""One conversation with a client, and the UNIX socket on which any number of them are held."""

import os
import select
import signal
import socket
import socketserver
import stat
import struct
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..common import log
from ..common.errors import ConfigError, Error, ProtocolError
from ..common.wire.signer import (MAX_REQUEST, Greeting, LineBuffer, format_greeting,
                                  format_refusal, format_signature)
from . import request

if TYPE_CHECKING:
    from .policy import Guard

LINE_TIME = 30.0      # seconds from the first byte of a line to its last
SEND_TIME = 30.0      # seconds for a client to take an answer
IDLE_TIME = 60.0      # seconds after which an idle connection has to make room for a new one
MAX_CONNECTIONS = 32  # a thread each
LOGGED = 1000         # connections within an hour; of further ones only what is signed is logged
HOUR = 3600.0         # seconds

ENDING = (signal.SIGINT, signal.SIGTERM)

_CHUNK = 65536        # bytes read at once


class Signer(NamedTuple):
    """The account key, as far as conversations need it."""

    greeting: Greeting
    sign: Callable[[bytes], bytes]
    guard: "Guard | None" = None      # None: no policy


class Peer:
    """A client: how to hear and answer it.  ``waiting_since`` is None while a line is under way.

    Of one that is ``quiet`` nothing is logged but what it is given: it must not fill the disk.
    """

    waiting_since: float | None = None
    quiet = False

    def receive(self, timeout: float | None) -> bytes:
        """Return some bytes, none at the end.  Raises OSError, TimeoutError after ``timeout`` s."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send all of ``data``.  Raises OSError."""
        raise NotImplementedError


class Stdio(Peer):
    """The peer at descriptors 0 and 1.  Its own time limits do: there is nobody else to serve."""

    def receive(self, timeout: float | None) -> bytes:
        if timeout is not None:
            poll = select.poll()
            poll.register(0, select.POLLIN)
            if not poll.poll(timeout * 1000):
                raise TimeoutError
        return os.read(0, _CHUNK)

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data):]


class Connection(Peer):
    """The peer at the other end of a UNIX stream socket."""

    def __init__(self, sock: socket.socket, name: str) -> None:
        self._sock = sock
        self.name = name

    def receive(self, timeout: float | None) -> bytes:
        self._sock.settimeout(timeout)
        return self._sock.recv(_CHUNK)

    def send(self, data: bytes) -> None:
        self._sock.settimeout(SEND_TIME)
        self._sock.sendall(data)

    def hang_up(self) -> None:
        """Make the conversation see its end."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it has ended


def converse(peer: Peer, signer: Signer, name: str) -> bool:
    """Greet ``peer`` and sign what it asks for until it ends; ``name`` is for the log.

    Return False if it had to be refused something: the conversation ends there.
    """
    try:
        peer.send(format_greeting(signer.greeting))
        try:
            _serve_requests(peer, signer, name)
        except ProtocolError as exc:
            if not peer.quiet:
                shown = request.describe(exc.line) if isinstance(exc, request.Refused) else ""
                log.warning(f"[{name}] NOSIGN {exc}{shown and f': {shown}'}")
            peer.send(format_refusal(str(exc)))
            return False
    except OSError as exc:
        if not peer.quiet:
            log.info(f"[{name}] lost the client: {exc.strerror or 'it takes no answer'}")
        return False
    return True


def _serve_requests(peer: Peer, signer: Signer, name: str) -> None:
    lines = LineBuffer(MAX_REQUEST)
    deadline: float | None = None     # of the line that has begun
    while True:
        line = lines.next_line()
        if line is not None:
            deadline = None
            peer.send(format_signature(_sign(line, signer, name, peer.quiet)))
            continue
        now = time.monotonic()
        if not lines.pending:
            peer.waiting_since = now
        elif deadline is None:
            deadline = now + LINE_TIME
        try:
            data = peer.receive(None if deadline is None else max(0.0, deadline - now))
        except (TimeoutError, BlockingIOError) as exc:  # the latter for a timeout of 0
            raise ProtocolError(f"no whole line within {LINE_TIME:.0f} seconds") from exc
        peer.waiting_since = None
        if not data:
            if lines.pending:
                raise ProtocolError("the client ended in the middle of a line")
            return
        lines.feed(data)


def _sign(line: bytes, signer: Signer, name: str, quiet: bool) -> bytes:
    if signer.guard is None:
        request.check(line, signer.greeting)
    else:
        verdict = signer.guard.judge(line, signer.greeting)
        if not (quiet and verdict.why):
            log.info(f"[{name}] AUDIT {verdict}")
        if verdict.why:
            raise request.Refused(verdict.why, line)
    signature = signer.sign(line)
    log.info(f"[{name}] SIGNED {request.describe(line)}")
    return signature


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
        self._logged: deque[float] = deque(maxlen=LOGGED)
        self._unlogged = 0
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
        quiet = self._is_one_too_many()
        if len(self._connections) >= MAX_CONNECTIONS and not self._dismiss_idle():
            if not quiet:
                log.warning(f"[{self._count}] refused: {MAX_CONNECTIONS} connections are busy")
            return False
        connection = self._connections[request] = Connection(request, str(self._count))
        connection.quiet = quiet
        return True

    def _is_one_too_many(self) -> bool:
        """Count a connection; True if it is not to be logged."""
        now = time.monotonic()
        if len(self._logged) == LOGGED and now - self._logged[0] < HOUR:
            if not self._unlogged:
                log.warning(f"more than {LOGGED} connections within an hour: of further ones only "
                            "what is signed is logged")
            self._unlogged += 1
            return True
        self._logged.append(now)
        if self._unlogged:
            log.warning(f"{self._unlogged} connections were not logged")
            self._unlogged = 0
        return False

    def _dismiss_idle(self) -> bool:
        """Hang up on the connection that has been idle for longest; False if none has for long."""
        idle = [(peer.waiting_since, id(sock), sock) for sock, peer
                in list(self._connections.items()) if peer.waiting_since is not None]
        if not idle or min(idle)[0] > time.monotonic() - IDLE_TIME:
            return False
        # Its thread notices in its own time, a few more threads than connections do no harm; or
        # it has ended by itself since
        peer = self._connections.pop(min(idle)[2], None)
        if peer is not None:
            peer.hang_up()
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
        pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                                                          struct.calcsize("3i")))
        if not peer.quiet:
            log.info(f"[{peer.name}] connection of user {uid}, process {pid}")
        converse(peer, self._signer, peer.name)
        if not peer.quiet:
            log.info(f"[{peer.name}] end of connection")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A conversation failed for a reason nobody thought of: the others go on."""
        import traceback
        log.error(f"a conversation failed: {sys.exc_info()[1]!r}")
        if log.level >= log.DEBUG:
            traceback.print_exc()

    def shutdown_request(self, request: Any) -> None:
        """Every conversation ends here."""
        self._connections.pop(request, None)
        super().shutdown_request(request)


class _Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.server.converse(self.request)


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
    if os.path.lexists(path):
        raise Error(f"socket {path}: exists already; if no other signer runs there, remove it")
