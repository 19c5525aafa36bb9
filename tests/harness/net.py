"""Ports that are free, and a listener that tells whether anybody came."""

import random
import socket
import threading

# Below the kernel's range for outgoing connections (net.ipv4.ip_local_port_range), or one of
# those could take a port between the choice and the day it is bound.
_PORTS = range(10000, 32768)


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
    return True


def is_listening(port: int, address: str = "127.0.0.1") -> bool:
    """Tell whether a TCP connection to ``address`` is accepted."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


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
