"""A connection to the signer's socket: it never waits for its client."""

import select
import socket
import struct

from .conversation import Talk

CHUNK = 16384         # bytes read at once

READING, WRITING, NOTHING = select.EPOLLIN, select.EPOLLOUT, 0
_CREDENTIALS = struct.Struct("3i")   # pid, uid, gid


def process_of(sock: socket.socket) -> tuple[int, int]:
    """Return the user and the number of the process at the other end: behind one of sshd's, for
    instance, there is one host."""
    pid, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED,
                                                      _CREDENTIALS.size))
    return uid, pid


class Connection:
    """A client, what is said with it, and the answer that it has not taken yet."""

    __slots__ = ("sock", "process", "talk", "out", "busy", "events", "waiting_since", "spoken",
                 "closed", "held")

    def __init__(self, sock: socket.socket, process: tuple[int, int], talk: Talk) -> None:
        self.sock = sock
        self.process = process     # user and number
        self.talk = talk
        self.out = b""             # what is left of the last answer
        self.busy = False          # it waits for its turn, or for its signature
        self.events = NOTHING      # what the server waits for
        # None while a line is under way, until it has its answer
        self.waiting_since: float | None = None
        self.spoken = False        # a line has been completed
        self.closed = False
        self.held = 0              # bytes of lines that wait

    def receive(self) -> bytes | None:
        """Return what has come, nothing at its end; None if that is for later.  Raises OSError."""
        try:
            return self.sock.recv(CHUNK)
        except BlockingIOError:
            return None

    def send(self, data: bytes) -> None:
        """Send what the client takes of this and of what is left.  Raises OSError."""
        self.out += data
        try:
            while self.out:
                self.out = self.out[self.sock.send(self.out):]
        except BlockingIOError:
            pass
