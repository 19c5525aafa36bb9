"""One conversation with a client: what it asks for, what it is answered, and when it ends."""

import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ..common import log
from ..common.errors import Error, ProtocolError
from ..common.wire.signer import (MAX_LINE, MAX_REFUSALS, Greeting, LineBuffer, format_explanation,
                                  format_greeting, format_refusal, format_signature, is_hello,
                                  parse_explain, parse_next)
from . import inner, request

if TYPE_CHECKING:
    from .policy import Guard

LINE_TIME = 30.0      # seconds from the first byte of a line to its last
LOGGED = 1000         # connections and refusals within an hour; of further ones only what is signed
HOUR = 3600.0         # seconds

CHUNK = 65536         # bytes read at once

ENDING = (signal.SIGINT, signal.SIGTERM)   # what ends the program


class Signer(NamedTuple):
    """The account key, as far as conversations need it."""

    greeting: Greeting
    sign: Callable[[bytes], bytes]
    guard: "Guard | None" = None      # None: no policy
    sign_by_next: Callable[[bytes], bytes] | None = None    # with the greeting's next key
    macs: Mapping[str, Callable[[bytes], bytes]] = {}       # by the greeting's bindings


class Budget:
    """How much is logged of what clients do in vain, so that they don't fill the disk.

    What is signed is none of its business.  Used by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._logged: deque[float] = deque(maxlen=LOGGED)
        self._unlogged = 0

    def allows(self) -> bool:
        """Count a connection or refusal; True if it is to be logged."""
        now = time.monotonic()
        with self._lock:
            if len(self._logged) == LOGGED and now - self._logged[0] < HOUR:
                if not self._unlogged:
                    log.warning(f"more than {LOGGED} connections and refusals within an hour: of "
                                "further ones only what is signed is logged")
                self._unlogged += 1
                return False
            self._logged.append(now)
            if self._unlogged:
                log.warning(f"{self._unlogged} connections and refusals were not logged")
                self._unlogged = 0
            return True


class Peer:
    """A client: how to hear and answer it.  ``waiting_since`` is None while a line is under way;
    ``spoken``: one has been completed.

    Of one that is ``quiet`` nothing is logged but what it is given.
    """

    waiting_since: float | None = None
    spoken = False
    quiet = False

    def receive(self, timeout: float | None) -> bytes:
        """Return some bytes, none at the end.  Raises OSError, TimeoutError after ``timeout`` s."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Send all of ``data``.  Raises OSError."""
        raise NotImplementedError


class Stdio(Peer):
    """The peer at descriptors 0 and 1.  Its own time limits do: there is nobody else to serve."""

    def receive(self, timeout: float | None) -> bytes:
        if timeout is not None:
            poll = select.poll()
            poll.register(0, select.POLLIN)
            if not poll.poll(timeout * 1000):
                raise TimeoutError
        return os.read(0, CHUNK)

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(1, data):]


class Talk:
    """What has been said in a conversation; ``name`` is for the log."""

    def __init__(self, peer: Peer, signer: Signer, name: str, budget: Budget) -> None:
        self.peer = peer
        self.signer = signer
        self.name = name
        self.begun = False             # the client has said something
        self.knows_refusals = False    # namely that it knows what NOSIGN is
        self.refused = False           # it had to be refused something
        self.ended = False             # nothing more is answered
        self._budget = budget
        self._in_vain = 0              # refusals and explanations

    def refuse(self, why: str, line: bytes | None = None, audit: str = "") -> bytes:
        """Log a refusal; return what the client is told of it.

        That is nothing where it could take it for a signature; the conversation ends then.
        """
        # The first goes with the connection, which has been counted
        if not self.peer.quiet and (not self.refused or self._budget.allows()):
            if audit:
                log.info(f"[{self.name}] AUDIT {audit}")
            shown = "" if line is None else f": {request.describe(line)}"
            log.warning(f"[{self.name}] NOSIGN {why}{shown}")
        self.refused = True
        self.ended = not self.knows_refusals
        self._count()
        return format_refusal(why) if self.knows_refusals else b""

    def explain(self, why: str, line: bytes) -> bytes:
        """Return what the client is told that asked what would become of a request."""
        if log.level >= log.DEBUG and not self.peer.quiet and self._budget.allows():
            log.debug(f"[{self.name}] EXPLAIN {why or 'OK'}: {request.describe(line)}")
        self._count()
        return format_explanation(why)

    def _count(self) -> None:
        self._in_vain += 1
        if self._in_vain >= MAX_REFUSALS:
            self.ended = True
            if not self.peer.quiet:
                log.warning(f"[{self.name}] {MAX_REFUSALS} refusals and explanations are enough")


def converse(peer: Peer, signer: Signer, name: str, budget: Budget) -> bool:
    """Greet ``peer`` and sign what it asks for until it ends; ``name`` is for the log.

    Return False if it had to be refused something, or was lost.
    """
    talk = Talk(peer, signer, name, budget)
    try:
        peer.send(format_greeting(signer.greeting))
        try:
            _serve_requests(talk)
        except ProtocolError as exc:   # nobody knows where its next line begins
            peer.send(talk.refuse(str(exc)))
    except OSError as exc:
        if not peer.quiet:
            log.info(f"[{name}] lost the client: {exc.strerror or 'it takes no answer'}")
        return False
    return not talk.refused


def _serve_requests(talk: Talk) -> None:
    """Raises OSError, and ProtocolError for what is no line."""
    peer = talk.peer
    lines = LineBuffer(MAX_LINE)
    deadline: float | None = None     # of the line that has begun
    while not talk.ended:
        line = lines.next_line()
        if line is not None:
            deadline, peer.spoken = None, True
            peer.send(_answer(talk, line))
            continue
        now = time.monotonic()
        if not lines.pending:
            peer.waiting_since = now
        elif deadline is None:
            deadline = now + LINE_TIME
        try:
            data = peer.receive(None if deadline is None else max(0.0, deadline - now))
        except (TimeoutError, BlockingIOError) as exc:  # the latter for a timeout of 0
            raise ProtocolError(f"no whole line within {LINE_TIME:.0f} seconds") from exc
        peer.waiting_since = None
        if not data:
            if lines.pending:
                raise ProtocolError("the client ended in the middle of a line")
            return
        lines.feed(data)


def _answer(talk: Talk, line: bytes) -> bytes:
    """Return the line that answers ``line``; nothing if there is none."""
    begins, talk.begun = not talk.begun, True
    if begins and is_hello(line):
        talk.knows_refusals = True
        return b""
    asked = parse_explain(line) if talk.knows_refusals else None
    if asked is not None:
        return talk.explain(_judge(talk.signer, asked, talk.signer.greeting, True)[0], asked)
    following = parse_next(line) if talk.knows_refusals else None
    if following is None:
        return _sign(talk, line, talk.signer.greeting, talk.signer.sign)
    greeting, sign = talk.signer.greeting.as_next(), talk.signer.sign_by_next
    if greeting is None or sign is None:
        return talk.refuse("there is no next key", following)
    return _sign(talk, following, greeting, sign)


def _sign(talk: Talk, line: bytes, own: Greeting, sign: Callable[[bytes], bytes]) -> bytes:
    """``own`` and ``sign`` are the account key's, or the next one's."""
    why, audit = _judge(talk.signer, line, own)
    if why:
        return talk.refuse(why, line, audit)
    if audit:
        log.info(f"[{talk.name}] AUDIT {audit}")
    try:
        signature = talk.signer.macs.get(inner.binding_of(line), sign)(line)
    except Error as exc:   # a key that is elsewhere can be lost
        return talk.refuse(str(exc), line)
    log.info(f"[{talk.name}] SIGNED {request.describe(line)}")
    return format_signature(signature)


def _judge(signer: Signer, line: bytes, own: Greeting, explain: bool = False) -> tuple[str, str]:
    """Return why a request may not be signed, "" if it may, and what the audit log says of it."""
    if signer.guard is not None:
        judge = signer.guard.explain if explain else signer.guard.judge
        verdict = judge(line, own)
        return verdict.why, str(verdict)
    try:
        request.check(line, own)
    except ProtocolError as exc:
        return str(exc), ""
    return "", ""
