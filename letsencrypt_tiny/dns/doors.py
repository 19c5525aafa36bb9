"""The sockets by which clients ask: what comes in by them is hostile, what they may want limited.

A client that breaks the protocol, or reads nothing, loses its door, and with it its records; the
others are served.
"""

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from ..common import log
from ..common.errors import LocalProtocolError, ProtocolError
from ..common.wire.responder import (Answered, Challenge, Duty, Failed, Lines, Present, format_line,
                                     parse_asked)
from .presenting import REMIND, Presenter

AT_ONCE = 4            # challenges for each name that a client may want at the same time
ALTOGETHER = 40        # … and while a run lasts
REFUSALS = 4000        # that a client survives beyond that
TOLD = 10              # refusals that the administrator gets to know of, of each client
MAX_OUTPUT = 1 << 18   # bytes that a client has not read, and …
FOR_EACH = 1 << 11     # … for each name


class _Door:
    """One client."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.lines = Lines()
        self.output = b""
        self.held: set[Challenge] = set()
        self.asked = self.refused = 0


class Doors:
    """Those of all clients.  ``say`` may be called by any thread."""

    def __init__(self, sockets: Sequence[socket.socket], duty: Duty) -> None:
        self._doors = dict(enumerate(map(_Door, sockets)))
        self._duty = duty
        self._outbox: deque[tuple[int, Answered]] = deque()
        self._wakes, self._wake = socket.socketpair()
        for sock in (*sockets, self._wakes, self._wake):
            sock.setblocking(False)
        self._stopped = False

    def stop(self) -> None:
        """Serve nobody any more (signal-safe)."""
        self._stopped = True
        self._ring()

    def say(self, door: int, message: Answered) -> None:
        """Let a client know."""
        self._outbox.append((door, message))
        self._ring()

    def _ring(self) -> None:
        try:
            self._wake.send(b"x")
        except BlockingIOError:
            pass   # it has been rung often enough

    def serve(self, presenter: Presenter) -> None:
        """Until all clients are gone, or ``stop``."""
        reminded = time.monotonic()
        while self._doors and not self._stopped:
            if time.monotonic() >= reminded + REMIND:
                reminded = time.monotonic()
                presenter.remind()
            poll = select.poll()
            poll.register(self._wakes, select.POLLIN)
            numbers = {door.socket.fileno(): number for number, door in self._doors.items()}
            for door in self._doors.values():
                poll.register(door.socket,
                              select.POLLIN | (select.POLLOUT if door.output else 0))
            for descriptor, events in poll.poll(REMIND * 1000):
                if descriptor == self._wakes.fileno():
                    self._drain()
                elif events & ~select.POLLOUT:
                    self._receive(numbers[descriptor], presenter)
            self._send(presenter)

    def _drain(self) -> None:
        try:
            while self._wakes.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _receive(self, number: int, presenter: Presenter) -> None:
        door = self._doors[number]
        try:
            data = door.socket.recv(65536)
            if not data:
                self._close(number, presenter)
                return
            for line in door.lines.feed(data):
                self._obey(number, door, line, presenter)
        except BlockingIOError:
            pass
        except ProtocolError as exc:
            log.warning(f"a client broke the protocol: {exc}")
            self._close(number, presenter)
        except OSError:
            self._close(number, presenter)

    def _obey(self, number: int, door: _Door, line: bytes, presenter: Presenter) -> None:
        message = parse_asked(line)
        about = message.challenge
        if not isinstance(message, Present):
            door.held.discard(about)
            presenter.clean(number, about)
            return
        door.asked += 1
        why = self._faults(door, about)
        if why:
            door.refused += 1
            if door.refused > ALTOGETHER * len(self._duty.identifiers) + REFUSALS:
                raise ProtocolError("it asks without end")
            if door.refused <= TOLD:
                log.warning(f"a client is refused: {about.identifier[1]}: {why}")
            self.say(number, Failed(about, why))
        else:
            door.held.add(about)
            presenter.present(number, about)

    def _faults(self, door: _Door, about: Challenge) -> str:
        """Return why a client is refused, "" if it isn't."""
        if about.type != "dns-01" or about.identifier[0] != "dns":   # RFC 8738 §7
            return "only names are validated by dns-01 here"
        names = len(self._duty.identifiers)
        if len(door.held) >= AT_ONCE * names + AT_ONCE:
            return "too many challenges at once"
        if door.asked > ALTOGETHER * names + ALTOGETHER:
            return "too many challenges in one run"
        return self._duty.faults(about)

    def _send(self, presenter: Presenter) -> None:
        while self._outbox:
            number, message = self._outbox.popleft()
            if number not in self._doors:
                continue
            if isinstance(message, Failed):
                self._doors[number].held.discard(message.challenge)
            try:
                self._doors[number].output += format_line(message)
            except LocalProtocolError as exc:
                log.error(exc)
        for number, door in list(self._doors.items()):
            try:
                while door.output:
                    door.output = door.output[door.socket.send(door.output):]
            except BlockingIOError:
                if len(door.output) > MAX_OUTPUT + FOR_EACH * len(self._duty.identifiers):
                    log.warning("a client does not read what it is told")
                    self._close(number, presenter)
            except OSError:
                self._close(number, presenter)

    def _close(self, number: int, presenter: Presenter) -> None:
        self._doors.pop(number).socket.close()
        presenter.leave(number)


def opened(descriptors: Sequence[int], fail: Callable[[str], Exception]) -> list[socket.socket]:
    """Return the stream sockets with these descriptors; raises what ``fail`` makes."""
    found = []
    for descriptor in descriptors:
        try:
            sock = socket.socket(fileno=descriptor)
        except (OSError, ValueError, OverflowError) as exc:
            raise fail(f"descriptor {descriptor} is no socket: {exc}") from None
        if sock.type != socket.SOCK_STREAM:
            raise fail(f"descriptor {descriptor} is no stream socket")
        found.append(sock)
    return found
