"""Ports that are free, whether somebody listens, and a listener that tells whether anybody came."""

import random
import socket
import threading
import time
from collections import deque
from pathlib import Path
from subprocess import Popen
from typing import Any

# Below the kernel's range for outgoing connections (net.ipv4.ip_local_port_range), or one of
# those could take a port between the choice and the day it is bound.
_PORTS = range(10000, 32768)
# What tells other runs on this machine that a port is taken, until whoever it is for listens; few,
# for whatever is forked and then confined has them, too
_leases: deque[socket.socket] = deque(maxlen=8)


def free_ports(count: int) -> list[int]:
    """Return ``count`` different ports that are free on 127.0.0.1 and ::1, for TCP and UDP."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.choice(_PORTS)
        if port not in ports and _is_free(port):
            ports.append(port)
    return ports


def free_port() -> int:
    """Return a port that is free on 127.0.0.1 and ::1, for TCP and UDP."""
    return free_ports(1)[0]


def _is_free(port: int) -> bool:
    for family, address in (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"):
        for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
            with socket.socket(family, kind) as sock:
                try:
                    sock.bind((address, port))
                except OSError:
                    return False
    return _lease(port)


def _lease(port: int) -> bool:
    """Take a port before another run does, by an abstract socket (unix(7)) called after it."""
    lease = socket.socket(socket.AF_UNIX)
    try:
        lease.bind(f"\0letsencrypt-tiny, tests, port {port}")
    except OSError:
        lease.close()
        return False
    _leases.append(lease)
    return True


def is_listening(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether a TCP connection to ``address`` is accepted."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def await_socket(path: Path, process: "Popen[Any]", seconds: float = 20) -> None:
    """Wait until ``process`` listens on a UNIX socket; raises AssertionError if it ends or dawdles.

    That the socket is there is not enough: between bind(2) and listen(2) connections are refused.
    No connection is made to find out, which might count for one.
    """
    end = time.monotonic() + seconds
    while not _is_listened_on(path):
        assert process.poll() is None and time.monotonic() < end, path
        time.sleep(0.01)


def _is_listened_on(path: Path) -> bool:
    """Tell whether a socket accepts connections (__SO_ACCEPTCON of /proc/net/unix, proc(5))."""
    for line in Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]:
        fields = line.split(maxsplit=7)   # Num RefCount Protocol Flags Type St Inode Path
        if fields[7:] == [str(path)] and int(fields[3], 16) & 0x10000:
            return True
    return False


class Listener:
    """Accepts TCP connections, answers nothing, keeps what it was sent: a trap for SSRF.

    >>> with Listener() as trap:
    ...     misbehaviour.foreign_urls(hostile, "newOrder", f"https://127.0.0.1:{trap.port}")
    ...     site.run("newOrder")
    ...     assert not trap.received
    """

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        self.received: list[bytes] = []
        self._socket = socket.create_server((address, port))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _peer = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(0.2)
                self.received.append(_read(connection) or b"")


def _read(connection: socket.socket) -> bytes | None:
    try:
        return connection.recv(4096)
    except OSError:
        return None
