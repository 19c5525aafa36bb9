"""How a signer is connected to that serves many hosts: it may be busy with others."""

import select
import socket
import time

from ...common import log
from ...common.errors import Error

BUSY_SECONDS = 60        # to try again in, if it is too busy
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)   # seconds between two tries; the last is repeated
PROMPT_SECONDS = 0.5     # in which one that has no room hangs up


def connected(place: int, path: str) -> socket.socket:
    """Connect to the socket on a descriptor: none that took its place meanwhile.

    One that has no room for a connection, nor for one that waits, or hangs up before it greets,
    is tried again.  Raises Error.
    """
    end = time.monotonic() + BUSY_SECONDS
    pauses = iter(PAUSES)
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(f"/proc/self/fd/{place}")
            sock.setblocking(True)
            there = True
        except BlockingIOError:
            there = False
        except OSError as exc:
            sock.close()
            raise Error(f"{path}: cannot connect to the account key manager: "
                        f"{exc.strerror}") from exc
        left = end - time.monotonic()
        if there and (left <= 0 or not _hangs_up(sock)):
            return sock   # if it has hung up, who waits for its greeting hears so
        sock.close()
        if left <= 0:
            raise Error(f"{path}: the account key manager is busy")
        pause = min(next(pauses, PAUSES[-1]), left)
        if pause == PAUSES[0]:
            log.info(f"{path}: the account key manager is busy; trying again for {BUSY_SECONDS} "
                     "seconds")
        time.sleep(pause)


def _hangs_up(sock: socket.socket) -> bool:
    """True if the signer ends a new connection without a word; one that only takes its time is
    waited for later."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    try:
        return bool(poll.poll(1000 * PROMPT_SECONDS)) and not sock.recv(1, socket.MSG_PEEK)
    except ConnectionError:
        return True
