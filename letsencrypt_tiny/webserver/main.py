"""The challenge web server: answers http-01 validations (RFC 8555 §8.3), nothing else.

    webserver [--debug] [--confine=auto|required|no] [--thumbprint=KEY] FD [FD …]

Started by the master as the user _letsencrypt-www, or any other without privilege.

* FD …: descriptors of stream sockets (TCP or UNIX) that listen already.
* Working directory: the challenge directory.  A file's name is the token, its content the
  key authorization.  The directory needs to be searchable (x), not readable.
* KEY: the account key's thumbprint (RFC 7638).  Key authorizations of other keys (§8.1) are
  not given out: who can write in the directory can't have names validated for an account of
  his own.
* Standard error: messages, and with --debug a line for each request.
* SIGTERM ends it with status 0, and so does nothing else; SIGINT is the master's business.
  Status 2: the arguments make no sense; 1: it can't confine itself as required.

One thread and one selector serve all sockets, so no peer can hold up another.  Each connection
carries one request.  It may last DEADLINE seconds, however busy it looks, and when
MAX_CONNECTIONS are open, the oldest makes room for the next: idle connections don't stop a
validation.

Why not http.server: it parses every header with the email package, reads with a time limit for
each recv() rather than for the whole request, needs a thread for each connection, and takes
25 ms to import, more than all the rest.  A request line is all that matters here.
"""

import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from ..common import log
from ..common.sandbox import confine
from ..common.errors import Error, UsageError

MAX_HEAD = 8192        # bytes of a request line and its header fields
MAX_FILE = 1024        # bytes; a key authorization is a token, a dot and 43 bytes (§8.1)
MAX_TRAILER = 65536    # bytes read and thrown away after the answer
MAX_TOKEN = 128        # characters; Let's Encrypt's have 43
MEMORY = 64 << 20      # bytes; it takes 8 MB when it is busiest

PREFIX = b"/.well-known/acme-challenge/"
# base64url (RFC 4648 §5): no dot, no slash, no percent sign, so a token is a file name.
TOKEN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
VISIBLE = frozenset(range(0x20, 0x7F))
VERSIONS = (b"HTTP/1.0", b"HTTP/1.1")
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
           431: "Request Header Fields Too Large"}

thumbprint = b""   # none: whatever account's key authorizations are given out


class Answer(NamedTuple):
    """What a request is answered; ``body`` is the key authorization if ``status`` is 200."""

    status: int
    body: bytes = b""


def respond(head: bytes) -> Answer | None:
    """Answer a request head, or return None as long as more of it must come.

    A request line that can't become a good one is refused at once (RFC 9112 §3).  The header
    fields have no influence on the answer: they are waited for, not looked at.
    """
    line, crlf, _ = head.partition(b"\r\n")
    if not VISIBLE.issuperset(line if crlf else line.removesuffix(b"\r")):
        return Answer(400)
    if crlf:
        words = line.split(b" ")
        if len(words) != 3 or not all(words) or words[2] not in VERSIONS:
            return Answer(400)
    if b"\r\n\r\n" not in head:
        return None if len(head) < MAX_HEAD else Answer(431)
    method, target, _ = words
    if method not in (b"GET", b"HEAD"):
        return Answer(405)
    token = target.removeprefix(PREFIX)
    if token == target or not 1 <= len(token) <= MAX_TOKEN or not TOKEN.issuperset(token):
        return Answer(404)
    body = read_challenge(token)
    return Answer(404) if body is None else Answer(200, body)


def read_challenge(token: bytes) -> bytes | None:
    """Return the content of the challenge file of that name; None unless it is a small plain file,
    with the key authorization of the account whose key's ``thumbprint`` we were given.

    O_NONBLOCK: to open a FIFO must not wait for its writer.  To read from a position is
    possible in plain files only.
    """
    try:
        fd = os.open(token, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        content = os.pread(fd, MAX_FILE + 1, 0)
        if thumbprint and content != token + b"." + thumbprint:
            return None
        return content if len(content) <= MAX_FILE else None
    except OSError:
        return None
    finally:
        os.close(fd)


def render(answer: Answer, head_only: bool) -> bytes:
    """Return the response (RFC 9112 §4) to a GET, or with ``head_only`` to a HEAD request.

    Nothing of the request is ever part of it.
    """
    status, body = answer
    reason = REASONS[status]
    media_type = "application/octet-stream"  # as RFC 8555 §8.3 wishes
    if status != 200:
        media_type, body = "text/plain", f"{status} {reason}\n".encode()
    fields = [f"HTTP/1.1 {status} {reason}",
              "Server: letsencrypt-tiny",
              time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()),
              f"Content-Type: {media_type}",
              f"Content-Length: {len(body)}",
              "Connection: close"]
    if status == 405:
        fields.append("Allow: GET, HEAD")  # RFC 9110 §15.5.6
    head = "\r\n".join(fields) + "\r\n\r\n"
    return head.encode() + (b"" if head_only else body)


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

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
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
            answer = respond(conn.head)
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
            # At most 1.3 kB: the send buffer of a new socket always takes that.
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


def listening_socket(argument: str) -> socket.socket:
    """Return the listening stream socket with that descriptor.  Raises UsageError."""
    try:
        fd = int(argument)
    except ValueError:
        raise UsageError(f"{log.printable(argument)}: not a descriptor") from None
    try:
        sock = socket.socket(fileno=fd)
        listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except (OSError, ValueError, OverflowError) as exc:
        raise UsageError(f"descriptor {fd} is no socket: {exc}") from None
    if not listening or sock.type != socket.SOCK_STREAM:
        raise UsageError(f"descriptor {fd} is no listening stream socket")
    return sock


def parse(argv: Sequence[str]) -> "tuple[str, list[socket.socket]]":
    """Return the mode of confinement and the listening sockets; sets the log's level and
    ``thumbprint``.

    Raises UsageError.
    """
    global thumbprint
    mode = "auto"
    listeners = []
    for argument in argv:
        if argument == "--debug":
            log.level = log.DEBUG
        elif argument.startswith("--confine="):
            mode = argument.removeprefix("--confine=")
            if mode not in confine.MODES:
                raise UsageError(f"{log.printable(argument)}: must be one of "
                                 f"{', '.join(confine.MODES)}")
        elif argument.startswith("--thumbprint="):
            thumbprint = os.fsencode(argument.removeprefix("--thumbprint="))
            if len(thumbprint) != 43 or not TOKEN.issuperset(thumbprint):
                raise UsageError(f"{log.printable(argument)}: not a base64url SHA-256")
        else:
            listeners.append(listening_socket(argument))
    if not listeners:
        raise UsageError("usage: webserver [--debug] [--confine=auto|required|no] "
                         "[--thumbprint=KEY] FD [FD …]")
    return mode, listeners


def confinement(mode: str, sockets: int) -> confine.Plan:
    """What is left to the web server: the challenges, read, and its sockets."""
    return confine.Plan(name="webserver", mode=mode, read=(".",), network=False, listen=True,
                        files=sockets + 16, processes=0, memory=MEMORY)


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit status.  Raises SystemExit(0) on SIGTERM."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        mode, listeners = parse(sys.argv[1:] if argv is None else argv)
        confine.die_with_parent(os.getppid())
        server = Server(listeners)
        confine.warm_up()
        plan = confinement(mode, len(listeners) + server.MAX_CONNECTIONS)
        log.debug(f"confined: {', '.join(confine.enter(plan))}")
        server.serve()
    except Error as exc:
        log.error(exc)
        return exc.exit_status
