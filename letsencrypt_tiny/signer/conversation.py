"""One conversation with a client: what it asks for, what it is answered, and when it ends.

``Talk`` is all of it but the reading, the waiting and the writing, which are the server's on a
socket (server.py), and ``converse``'s on descriptors 0 and 1.
"""

import os
import select
import signal
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


class Asked(NamedTuple):
    """What may be signed, and is not yet."""

    line: bytes             # the signing input
    by_next: bool           # by the next key, which is to take the account key's place
    shown: str              # of it in the log


class Signer(NamedTuple):
    """The account key, as far as conversations need it."""

    greeting: Greeting
    sign: Callable[[bytes], bytes]
    guard: "Guard | None" = None      # None: no policy
    sign_by_next: Callable[[bytes], bytes] | None = None    # with the greeting's next key
    macs: Mapping[str, Callable[[bytes], bytes]] = {}       # by the greeting's bindings

    def make(self, line: bytes, by_next: bool) -> bytes:
        """Return the signature of a signing input that has been judged.  Raises Error."""
        if not by_next:
            return self.sign(line)
        if self.sign_by_next is None:
            raise Error("there is no next key")
        return self.sign_by_next(line)


class Budget:
    """How much is logged of what clients do in vain, so that they don't fill the disk.

    What is signed is none of its business.
    """

    def __init__(self) -> None:
        self._logged: deque[float] = deque(maxlen=LOGGED)
        self._unlogged = 0

    def allows(self) -> bool:
        """Count a connection or refusal; True if it is to be logged."""
        now = time.monotonic()
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


class Talk:
    """What has been said in a conversation; ``name`` is for the log.

    Of one that is ``quiet`` nothing is logged but what it is given.
    """

    __slots__ = ("signer", "name", "quiet", "refused", "ended", "_budget", "_lines", "_begun",
                 "broken", "_knows_refusals", "_in_vain")

    def __init__(self, signer: Signer, name: str, budget: Budget, quiet: bool = False) -> None:
        self.signer = signer
        self.name = name
        self.quiet = quiet
        self.refused = False           # the client had to be refused something
        self.ended = False             # nothing more is answered
        self.broken = ""               # why what has come is no line, nor becomes one
        self._budget = budget
        self._lines = LineBuffer(MAX_LINE)
        self._begun = False            # it has said something
        self._knows_refusals = False   # namely that it knows what NOSIGN is
        self._in_vain = 0              # refusals and explanations

    def hear(self, data: bytes) -> None:
        """Take what the client has said; nothing at its end."""
        if data:
            try:
                self._lines.feed(data)
            except ProtocolError as exc:
                self.broken = str(exc)
        elif self._lines.pending:
            self.broken = "the client ended in the middle of a line"
        else:
            self.ended = True

    @property
    def speaks(self) -> bool:
        """True if the client has said what can be answered."""
        return self._lines.complete

    @property
    def pending(self) -> int:
        """How many bytes are waiting: of the line that has begun unless the client ``speaks``."""
        return self._lines.pending

    def answer(self) -> "bytes | Asked":
        """Deal with the next line: return what answers it, with its end, or what is to be signed
        first; nothing where there is no answer."""
        try:
            line = self._lines.next_line()
        except ProtocolError as exc:
            return self.break_off(str(exc))
        return b"" if line is None else self._answer(line)

    def break_off(self, why: str) -> bytes:
        """End it, for nobody knows where the client's next line begins; return the last answer."""
        answer = self.refuse(why)
        self.ended = True
        return answer

    def _answer(self, line: bytes) -> "bytes | Asked":
        begins, self._begun = not self._begun, True
        if begins and is_hello(line):
            self._knows_refusals = True
            return b""
        asked = parse_explain(line) if self._knows_refusals else None
        if asked is not None:
            return self._explain(asked)
        following = parse_next(line) if self._knows_refusals else None
        if following is None:
            return self._ask(line, self.signer.greeting, False)
        greeting = self.signer.greeting.as_next()
        if greeting is None:
            return self.refuse("there is no next key", following)
        return self._ask(following, greeting, True)

    def _ask(self, line: bytes, own: Greeting, by_next: bool) -> "bytes | Asked":
        """``own`` is the account key's greeting, or the next one's."""
        why, audit = _judge(self.signer, line, own)
        if why:
            return self.refuse(why, line, audit)
        if audit:
            log.info(f"[{self.name}] AUDIT {audit}")
        asked = Asked(line, by_next, request.describe(line) if log.shows_info() else "")
        mac = self.signer.macs.get(inner.binding_of(line)) if self.signer.macs else None
        return asked if mac is None else self.signed(asked, mac(line))

    def signed(self, asked: Asked, signature: bytes) -> bytes:
        """Log a signature; return the answer."""
        log.info(f"[{self.name}] SIGNED {asked.shown}")
        return format_signature(signature)

    def sign(self, asked: Asked) -> bytes:
        """Sign here and now; return the answer."""
        try:
            return self.signed(asked, self.signer.make(asked.line, asked.by_next))
        except Error as exc:   # a key that is elsewhere can be lost
            return self.refuse(str(exc), asked.line)

    def refuse(self, why: str, line: bytes | None = None, audit: str = "") -> bytes:
        """Log a refusal; return what the client is told of it.

        That is nothing where it could take it for a signature; the conversation ends then.
        """
        # The first goes with the connection, which has been counted
        if not self.quiet and (not self.refused or self._budget.allows()):
            if audit:
                log.info(f"[{self.name}] AUDIT {audit}")
            shown = "" if line is None else f": {request.describe(line)}"
            log.warning(f"[{self.name}] NOSIGN {why}{shown}")
        self.refused = True
        if not self._knows_refusals:
            self.ended = True
        self._count()
        return format_refusal(why) if self._knows_refusals else b""

    def _explain(self, line: bytes) -> bytes:
        """Return what the client is told that asked what would become of a request."""
        why = _judge(self.signer, line, self.signer.greeting, True)[0]
        if log.level >= log.DEBUG and not self.quiet and self._budget.allows():
            log.debug(f"[{self.name}] EXPLAIN {why or 'OK'}: {request.describe(line)}")
        self._count()
        return format_explanation(why)

    def _count(self) -> None:
        self._in_vain += 1
        if self._in_vain >= MAX_REFUSALS:
            self.ended = True
            if not self.quiet:
                log.warning(f"[{self.name}] {MAX_REFUSALS} refusals and explanations are enough")

    def lost(self, exc: OSError) -> None:
        """Log that the client can't be reached, or takes no answer."""
        self.ended = True
        if not self.quiet:
            log.info(f"[{self.name}] lost the client: {exc.strerror or 'it takes no answer'}")


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


# --- on descriptors 0 and 1 ----------------------------------------------------------------------

def converse(signer: Signer) -> bool:
    """Greet the client at descriptors 0 and 1, and sign what it asks for until it ends.

    Return False if it had to be refused something, or was lost.  Its own time limits do for
    answers: there is nobody else to serve.
    """
    talk = Talk(signer, "stdio", Budget())
    try:
        _write(format_greeting(signer.greeting))
        _serve_requests(talk)
    except OSError as exc:
        talk.lost(exc)
        return False
    return not talk.refused


def _serve_requests(talk: Talk) -> None:
    """Raises OSError."""
    deadline: float | None = None     # of the line that has begun
    while not talk.ended:
        if talk.speaks:
            deadline = None
            answer = talk.answer()
            _write(talk.sign(answer) if isinstance(answer, Asked) else answer)
            continue
        now = time.monotonic()
        if talk.pending and deadline is None:
            deadline = now + LINE_TIME
        if deadline is not None and not _readable(max(0.0, deadline - now)):
            talk.broken = late()
        else:
            talk.hear(os.read(0, CHUNK))
        if talk.broken:
            _write(talk.break_off(talk.broken))


def late() -> str:
    """Return what is said of a line that takes too long."""
    return f"no whole line within {LINE_TIME:.0f} seconds"


def _readable(seconds: float) -> bool:
    poll = select.poll()
    poll.register(0, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data):]
