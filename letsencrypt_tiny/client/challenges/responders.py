"""Challenges that a process of their own answers: it is asked over a socket of the master's making.

The messages are those of ``common/wire/responder.py``.
"""

import socket
import threading
import time
from collections.abc import Iterable

from ...common.errors import Error, ProtocolError
from ...common.log import debug, printable
from ...common.names import Identifier, in_zone
from ...common.wire import responder as wire
from ...common.wire.jsonfields import JsonObject
from ...common.wire.order import Door
from ..scheduler import Steps

POLL = 0.05          # seconds between looks at a socket, at first
LONGEST_POLL = 0.5
SILENCE = 30         # seconds that a responder may be silent beyond what it announced
MAX_OUTPUT = 1 << 22  # bytes that it has not read: all challenges of a run, and more
# as letsencrypt-tiny(8) calls who answers
CALLED = {"dns-01": "the DNS updater", "tls-alpn-01": "the challenge TLS server"}


class _Line:
    """The socket to one responder; any thread may use it, all get to know what it said."""

    def __init__(self, door: Door, called: str) -> None:
        self.called = called
        self._socket = socket.socket(fileno=door.descriptor)
        self._socket.setblocking(False)
        self._lines = wire.Lines()
        self._output = b""
        self._lock = threading.Lock()
        self._heard: dict[wire.Challenge, wire.Answered | None] = {}   # of those asked for
        self._error: Error | None = None

    def say(self, message: wire.Asked) -> None:
        """Raises Error if the responder has ended."""
        with self._lock:
            if isinstance(message, wire.Present):
                self._heard[message.challenge] = None
            else:
                self._heard.pop(message.challenge, None)
            self._output += wire.format_line(message)
            self._send()
            if self._error is not None:
                raise self._error

    def heard(self, about: wire.Challenge) -> wire.Answered | None:
        """Return what was said last of a challenge; raises Error if the responder is lost."""
        with self._lock:
            self._listen()
            self._send()
            said = self._heard.get(about)
            if self._error is not None and not isinstance(said, wire.Ready):
                raise self._error
            return said

    def _send(self) -> None:
        """What it has no room for it gets later: it may have to tidy up before it listens."""
        try:
            while self._output and self._error is None:
                self._output = self._output[self._socket.send(self._output):]
        except BlockingIOError:
            if len(self._output) > MAX_OUTPUT:
                self._lost("it does not listen")
        except OSError as exc:
            self._lost(exc.strerror or str(exc))

    def _listen(self) -> None:
        while self._error is None:
            try:
                data = self._socket.recv(65536)
                if not data:
                    self._lost("it has ended")
                    return
                for line in self._lines.feed(data):
                    said = wire.parse_answered(line)
                    if said.challenge in self._heard:
                        self._heard[said.challenge] = said
            except BlockingIOError:
                return
            except ProtocolError as exc:
                self._lost(str(exc))
            except OSError as exc:
                self._lost(exc.strerror or str(exc))

    def _lost(self, why: str) -> Error:
        self._error = Error(f"{self.called} can't be talked to: {printable(why, 300)}")
        return self._error

    def close(self) -> None:
        """The responder takes back whatever is left."""
        self._socket.close()


class Remote:
    """The solver of one type of challenges, by whichever processes answer it."""

    has_token = True

    def __init__(self, kind: str, doors: Iterable[Door]) -> None:
        self.type = kind
        # of two zones that a name is in, the one below the other
        called = CALLED.get(kind, "the responder")
        self._lines = [(_Line(door, called), door.zone) for door in sorted(
            doors, key=lambda door: -len(door.zone))]
        self._lock = threading.Lock()
        self._users: dict[wire.Challenge, int] = {}

    def serves(self, identifier: Identifier) -> bool:
        """True if some process answers for it."""
        return self._line(identifier) is not None

    def fault(self, _challenge: JsonObject, _account: str) -> str:
        """Whatever the challenge is, it is all right."""
        return ""

    def _line(self, identifier: Identifier) -> _Line | None:
        kind, value = identifier
        if kind == "ip" and self.type == "dns-01":   # RFC 8738 §7
            return None
        return next((line for line, zone in self._lines if in_zone(value, zone)), None)

    def present(self, identifier: Identifier, token: str, thumbprint: str) -> Steps[bool]:
        """Have the challenge presented; see ``Solver``."""
        line = self._line(identifier)
        if line is None:
            raise Error(f"nobody answers the {self.type} challenge of {identifier[1]}")
        about = wire.Challenge(self.type, identifier, token, thumbprint)
        with self._lock:
            self._users[about] = self._users.get(about, 0) + 1
            first = self._users[about] == 1
        try:
            if first:
                line.say(wire.Present(about))
            yield from _presented(line, about)
        except BaseException:
            try:
                self._release(about, line)
            except Error as exc:   # why it failed is more telling
                debug(f"{identifier[1]}: {exc}")
            raise
        return first

    def clean(self, identifier: Identifier, token: str) -> Steps[None]:
        """Have it taken back unless another order needs it."""
        yield from ()
        line = self._line(identifier)
        with self._lock:
            held = [about for about in self._users
                    if (about.identifier, about.token) == (identifier, token)]
        for about in held:
            if line is not None:
                self._release(about, line)

    def _release(self, about: wire.Challenge, line: _Line) -> None:
        with self._lock:
            self._users[about] -= 1
            if self._users[about]:
                return
            del self._users[about]
        line.say(wire.Clean(about))

    def close(self) -> None:
        """The end of the sockets takes back what is left."""
        for line, _ in self._lines:
            line.close()


def _presented(line: _Line, about: wire.Challenge) -> Steps[None]:
    """Wait until the CA may look; raises Error if it never may."""
    name = about.identifier[1]
    limit = time.monotonic() + SILENCE
    pause = POLL
    before: wire.Answered | None = None
    while True:
        said = line.heard(about)
        if isinstance(said, wire.Ready):
            return
        if isinstance(said, wire.Failed):
            raise Error(f"{name}: {about.type}: {printable(said.why, wire.MAX_WHY)}")
        if isinstance(said, wire.Waits) and said is not before:
            before = said
            debug(f"{name}: {about.type}: {printable(said.why, wire.MAX_WHY)}")
            limit = time.monotonic() + said.seconds + SILENCE
        if time.monotonic() > limit:
            raise Error(f"{name}: {about.type}: {line.called} says nothing any more")
        yield pause
        pause = min(pause * 1.5, LONGEST_POLL)
