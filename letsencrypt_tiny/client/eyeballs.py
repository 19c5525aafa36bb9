"""Connects to the first of several addresses that answers: Happy Eyeballs (RFC 8305).

Families take turns (§4); while one address keeps silent, the next is tried beside it (§5).  What
worked goes first the next time, what did not goes last.  No threads, and no sockets beyond
those that are being connected.
"""

import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from ..common.errors import Error

NEXT_START = 0.25       # seconds: the Connection Attempt Delay (§5)
CONNECT_TIMEOUT = 10.0  # seconds for each address

_UNDER_WAY = (errno.EINPROGRESS, errno.EAGAIN, errno.EINTR)

Address = Any           # as of socket.getaddrinfo


class Unreachable(Error):
    """None of the addresses could be connected to; says what each of them answered."""


def interleave(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses so that families take turns, beginning with that of the first (§4)."""
    families: dict[int, list[Address]] = {}
    for address in dict.fromkeys(addresses):
        families.setdefault(address[0], []).append(address)
    turns = list(families.values())
    return [turn[i] for i in range(max(map(len, turns), default=0)) for turn in turns
            if i < len(turn)]


class _Attempt(NamedTuple):
    address: Address
    sock: socket.socket
    begin: float            # time.monotonic
    end: float


class Addresses:
    """The addresses of one host in the order in which they are tried; any thread may use them."""

    def __init__(self, addresses: Sequence[Address],
                 connected: Callable[[float], None] = lambda _: None) -> None:
        """``connected`` is told how many seconds a connection took."""
        self._connected = connected
        self._lock = threading.Lock()
        self._order = interleave(addresses)

    def worked(self, address: Address) -> None:
        """Let the address be the first from now on."""
        self._move(address, first=True)

    def failed(self, address: Address) -> None:
        """Let the address be the last from now on."""
        self._move(address, first=False)

    def _move(self, address: Address, first: bool) -> None:
        with self._lock:
            others = [other for other in self._order if other != address]
            self._order = [address, *others] if first else [*others, address]

    def connect(self, deadline: float) -> tuple[socket.socket, Address]:
        """Return a connected socket that doesn't block, and the address it is connected to.

        Raises Unreachable, at the latest at ``deadline`` (time.monotonic).
        """
        race = _Race(deadline)
        try:
            for address in list(self._order):
                race.wait(time.monotonic() + NEXT_START, race.start(address))
                if race.winner is not None:
                    break
            while race.winner is None and race.attempts:
                race.wait(deadline)
        finally:
            for attempt in race.attempts.values():
                attempt.sock.close()
        if race.winner is None:
            raise Unreachable("; ".join(race.failures) or "it has no address")
        self._connected(race.seconds)
        return race.winner.sock, race.winner.address


class _Race:
    """Attempts to connect that run beside each other, until one of them wins."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._poll = select.poll()
        self.attempts: dict[int, _Attempt] = {}    # by descriptor
        self.failures: list[str] = []
        self.winner: _Attempt | None = None
        self.seconds = 0.0    # that the winner took

    def start(self, address: Address) -> int:
        """Begin an attempt and return its descriptor; that it can't begin is noted."""
        family, kind, protocol, _, where = address
        sock = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.setblocking(False)
            code = sock.connect_ex(where)
        except OSError as exc:    # no such family here
            if sock is not None:
                sock.close()
            self.failures.append(f"{where[0]}: {exc.strerror or exc}")
            return -1
        now = time.monotonic()
        self.attempts[sock.fileno()] = _Attempt(address, sock, now,
                                                min(now + CONNECT_TIMEOUT, self._deadline))
        self._poll.register(sock, select.POLLOUT)
        if code and code not in _UNDER_WAY:
            self._fail(sock.fileno(), os.strerror(code))
        return sock.fileno()

    def wait(self, until: float, attempt: int | None = None) -> None:
        """Wait for a winner until then, or until no attempt is left, or not this one."""
        while self.winner is None and self.attempts and (
                attempt is None or attempt in self.attempts):
            now = time.monotonic()
            end = min(until, *(other.end for other in self.attempts.values()))
            for descriptor, _ in self._poll.poll(max(0, end - now) * 1000 + 1):
                self._ended(descriptor)
            now = time.monotonic()
            for descriptor, other in list(self.attempts.items()):
                if other.end <= now:
                    self._fail(descriptor, "timed out")
            if now >= until:
                return

    def _ended(self, descriptor: int) -> None:
        code = self.attempts[descriptor].sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._fail(descriptor, os.strerror(code))
        elif self.winner is None:
            self.winner = self._take(descriptor)
            self.seconds = time.monotonic() - self.winner.begin

    def _fail(self, descriptor: int, why: str) -> None:
        attempt = self._take(descriptor)
        attempt.sock.close()
        self.failures.append(f"{attempt.address[4][0]}: {why}")

    def _take(self, descriptor: int) -> _Attempt:
        self._poll.unregister(descriptor)
        return self.attempts.pop(descriptor)
