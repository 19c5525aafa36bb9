"""Sockets that somebody else listens on for us: systemd's protocol (sd_listen_fds(3)).

LISTEN_FDS says how many descriptors there are from 3 on, LISTEN_PID for which process; for another
than that common/environment.py has removed both.
"""

import os
import socket

from ..common import log
from ..common.errors import ConfigError

FIRST = 3
MOST = 64      # sockets: there is one for each ListenStream= of a unit


def take() -> list[socket.socket]:
    """Return the sockets that were handed over, none if none were; not twice.

    Raises ConfigError for what is no UNIX stream socket that listens.
    """
    text = os.environ.pop("LISTEN_FDS", "")
    os.environ.pop("LISTEN_PID", None)
    if not text:
        return []
    if not text.isascii() or not text.isdigit() or len(text) > 4 or not 1 <= int(text) <= MOST:
        raise ConfigError(f"LISTEN_FDS = {log.printable(text)}: not a number from 1 to {MOST}")
    return [_listener(descriptor) for descriptor in range(FIRST, FIRST + int(text))]


def names(listeners: list[socket.socket]) -> str:
    """Return where ``listeners`` can be reached, for a message."""
    return ", ".join(log.printable(os.fsdecode(sock.getsockname()).replace("\0", "@", 1))
                     for sock in listeners)


def _listener(descriptor: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=descriptor)
        if sock.family == socket.AF_UNIX and sock.type == socket.SOCK_STREAM \
                and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.set_inheritable(False)
            sock.setblocking(False)
            return sock
        sock.detach()
    except OSError:
        pass
    raise ConfigError(f"LISTEN_FDS: descriptor {descriptor} is not a UNIX stream socket that "
                      "listens (the .socket unit needs ListenStream=/PATH and Accept=no)")
