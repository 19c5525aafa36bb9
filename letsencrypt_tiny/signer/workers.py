"""Processes that sign for a signer on a socket, one for each core.

What they are handed has been judged, and the judge counts and logs: they make signatures, and know
nothing of policies and clients.  Each is forked with the key in its memory, and then confined to
its end of a socket pair; it ends when the signer does.

On the pair go messages: to it ``0`` or, for the next key, ``1``, and the signing input; from it
``+`` and the signature, or ``-`` and why there is none.  The first one says that it is ready.
"""

import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ..common import log
from ..common.errors import Error
from ..common.wire.signer import MAX_ANSWER, MAX_REQUEST

from .conversation import ENDING, Asked, Signer

if TYPE_CHECKING:
    from .connection import Connection

MOST = 8         # processes: one judges for no more
LIGHT = ("ES256",)   # 0.2 ms: those who ask need the other cores more
AHEAD = 2        # jobs that each has at once: the next one need not be waited for


class Died(Error):
    """A process that signs has ended, or gone over to somebody else."""

    def __init__(self, how: str) -> None:
        super().__init__(f"a process that signs {how}: so does this one, to be started anew")


class Job(NamedTuple):
    """What is to be signed, and for whom."""

    conn: "Connection"
    asked: Asked


class Worker:
    """A process that signs, as the signer sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.descriptor = sock.fileno()
        self.jobs: deque[Job] = deque()    # the oldest, which is answered next, first

    def give(self, job: Job) -> None:
        """Hand over what is to be signed.  Raises Error."""
        self.jobs.append(job)
        try:
            self._sock.send(b"%d%s" % (job.asked.by_next, job.asked.line))
        except OSError as exc:
            raise Died(f"has ended ({exc.strerror})") from exc

    def take(self) -> tuple[Job, bytes, str]:
        """Return the oldest job, the signature, and why there is none.  Raises Error."""
        answer = hear(self._sock)
        if not self.jobs:
            raise Died("answers what nobody asked for; it has ended")
        job = self.jobs.popleft()
        if answer[:1] == b"+":
            return job, answer[1:], ""
        return job, b"", answer[1:].decode("utf-8", "replace") or "no reason given"


def hear(sock: socket.socket) -> bytes:
    """Return a message of a process that signs; raises Error if that has ended."""
    try:
        answer = sock.recv(MAX_ANSWER)
    except OSError as exc:
        raise Died(f"has ended ({exc.strerror})") from exc
    if not answer:
        raise Died("has ended")
    return answer


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def count(alg: str, token: bool) -> int:
    """Return how many processes are to sign beside one that judges: none where they would take
    turns on one core, or where that has hardly more to do than to hand it over; for a ``token``,
    which does one thing at a time, one that waits for it."""
    if token:
        return 1
    found = cores()
    return min(found, MOST) if found > 1 and alg not in LIGHT else 0


def start(signer: Signer, count: int, confine: Callable[[], None]) -> list[Worker]:
    """Start ``count`` processes, each of which calls ``confine`` before it signs anything.

    To be called before anything is opened that is none of theirs.  Where there is no room for a
    process fewer are returned, and a warning is logged.  Raises Error.
    """
    parent = os.getpid()
    socks: list[socket.socket] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)   # for ever in the children
    for _ in range(count):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            child = os.fork()
        except OSError as exc:
            log.warning(f"no process can be started to sign beside this one: {exc.strerror}")
            ours.close()
            theirs.close()
            break
        if child == 0:
            for sock in (ours, *socks):
                sock.close()
            _work(theirs, signer, parent, confine)
        theirs.close()
        socks.append(ours)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    for sock in socks:   # all of them get ready at once
        ready = hear(sock)
        if ready[:1] != b"+":
            raise Error(ready[1:].decode("utf-8", "replace"))
        sock.setblocking(False)
    return [Worker(sock) for sock in socks]


def _work(sock: socket.socket, signer: Signer, parent: int,
          confine: Callable[[], None]) -> NoReturn:
    """In the child: never returns."""
    status = 1
    try:
        for number in ENDING:   # which ^C and systemd send to all; it ends when the signer does
            signal.signal(number, signal.SIG_IGN)
        _sign(sock, signer, parent, confine)
        status = 0
    except (BrokenPipeError, ConnectionResetError):
        status = 0   # the signer has ended
    except BaseException:
        sys.excepthook(*sys.exc_info())   # type: ignore[arg-type]
    finally:
        os._exit(status)


def _sign(sock: socket.socket, signer: Signer, parent: int,
          confine: Callable[[], None]) -> None:
    from ..common.sandbox.confine import die_with_parent
    try:
        die_with_parent(parent)
        confine()
    except Error as exc:
        os.write(sock.fileno(), _no(exc))
        return
    descriptor = sock.fileno()
    os.write(descriptor, b"+")
    while job := os.read(descriptor, MAX_REQUEST + 1):
        try:
            answer = b"+" + signer.make(job[1:], job[:1] == b"1")
        except Error as exc:
            answer = _no(exc)
        os.write(descriptor, answer)


def _no(exc: Error) -> bytes:
    return b"-" + str(exc).encode("utf-8", "replace")[:MAX_ANSWER - 1]
