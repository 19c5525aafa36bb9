"""The sockets by which clients ask a responder that is a process (``common/wire/responder.py``)."""

import socket

from ...common.wire.order import Door


class Doors:
    """Those of one process: a pair for each client, until the process has inherited our ends."""

    def __init__(self) -> None:
        self.ends: list[socket.socket] = []

    def make(self, kind: str, zone: str = "") -> Door:
        """Return one more for a client, which is the receiver's to close."""
        ours, theirs = socket.socketpair()
        self.ends.append(ours)
        return Door(kind, theirs.detach(), zone)

    def close(self) -> None:
        """Close our ends; safe to call twice."""
        while self.ends:
            self.ends.pop().close()
