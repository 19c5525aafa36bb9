"""Which challenges are answered now: no I/O, and no clock but one that is handed in.

A certificate answers one challenge, and a client says only the name that it validates (RFC 8737
§3).  So of several challenges of one name the others wait for their turn.  It comes when the first
is taken back, or when it has been validated and there was peace for a while: an order gives back
all it has at once, and two that wait for each other would never do so.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ..common.names import Identifier
from ..common.wire.responder import (MAX_WAIT, Answered, Challenge, Duty, Failed, Ready, Waits)

TYPE = "tls-alpn-01"
MAX_PRESENTED = 10000   # for one client
TURN = 90.0             # seconds, if others wait
PEACE = 15.0            # seconds since somebody validated it; a CA does so from several places

Who = TypeVar("Who")


class _Queue(Generic[Who]):
    """The challenges of one name, of which the first is answered."""

    __slots__ = ("entries", "end", "until")

    def __init__(self) -> None:
        self.entries: dict[tuple[Who, Challenge], None] = {}
        self.end = 0.0      # of its turn, at the latest
        self.until = 0.0    # … if others wait, as things are

    def begin(self, now: float) -> tuple[Who, Ready]:
        """The turn of the first begins."""
        self.end = self.until = now + TURN
        who, about = next(iter(self.entries))
        return who, Ready(about)

    def next(self, now: float) -> tuple[Who, Ready]:
        """The first has had its turn."""
        first = next(iter(self.entries))
        del self.entries[first]
        self.entries[first] = None
        return self.begin(now)


class Presented(Generic[Who]):
    """Challenges by the name that is asked for, and who wants each of them presented."""

    def __init__(self, duty: Duty, clock: Callable[[], float]) -> None:
        """``clock`` tells seconds."""
        self._duty = duty
        self._clock = clock
        self._queues: dict[str, _Queue[Who]] = {}
        self._crowded: dict[str, None] = {}     # names for which somebody waits
        self._counts: dict[Who, int] = {}

    def find(self, name: str) -> Challenge | None:
        """Return the challenge that is answered to whoever asks for ``name``."""
        queue = self._queues.get(name)
        return next(iter(queue.entries))[1] if queue else None

    def validated(self, about: Challenge) -> None:
        """Somebody was shown the answer to a challenge."""
        queue = self._queues.get(server_name(about.identifier))
        if queue and next(iter(queue.entries))[1] == about:
            queue.until = min(self._clock() + PEACE, queue.end)

    def add(self, who: Who, about: Challenge) -> Answered:
        """Present a challenge; it may have been before."""
        why = self._duty.faults(about) if about.type == TYPE else f"only {TYPE} is done here"
        name = server_name(about.identifier)
        queue = self._queues.get(name) or _Queue()
        if not why and (who, about) not in queue.entries:
            if self._counts.get(who, 0) >= MAX_PRESENTED:
                why = f"more than {MAX_PRESENTED} challenges at a time"
        if why:
            return Failed(about, why)
        if (who, about) not in queue.entries:
            self._counts[who] = self._counts.get(who, 0) + 1
            queue.entries[who, about] = None
            if len(queue.entries) == 1:
                self._queues[name] = queue
                queue.begin(self._clock())
        if next(iter(queue.entries)) == (who, about):
            return Ready(about)
        self._crowded[name] = None
        return Waits(about, MAX_WAIT, "another challenge of that name is being validated")

    def remove(self, who: Who, about: Challenge) -> Iterator[tuple[Who, Ready]]:
        """Take a challenge back if it is there; yield whose is presented in its place."""
        name = server_name(about.identifier)
        queue = self._queues.get(name)
        if queue is None or (who, about) not in queue.entries:
            return
        was_first = next(iter(queue.entries)) == (who, about)
        del queue.entries[who, about]
        self._counts[who] -= 1
        if len(queue.entries) < 2:
            self._crowded.pop(name, None)
        if not queue.entries:
            del self._queues[name]
        elif was_first:
            yield queue.begin(self._clock())

    def remove_all(self, who: Who) -> Iterator[tuple[Who, Ready]]:
        """Take back all of one that has left; yield whose are presented in their place."""
        theirs = [about for queue in self._queues.values()
                  for one, about in queue.entries if one is who]
        for about in theirs:
            for other, ready in self.remove(who, about):
                if other is not who:
                    yield other, ready
        self._counts.pop(who, None)

    def turns(self) -> Iterator[tuple[Who, Ready]]:
        """Yield whose turn has come by the clock."""
        now = self._clock()
        for name in self._crowded:
            if self._queues[name].until <= now:
                yield self._queues[name].next(now)

    def pause(self) -> float | None:
        """Return the seconds until the next turn may begin; None if nobody waits."""
        if not self._crowded:
            return None
        return max(0.0, min(self._queues[name].until for name in self._crowded) - self._clock())


def server_name(identifier: Identifier) -> str:
    """Return the name that a validation asks for: an address's is its reverse (RFC 8738 §6)."""
    kind, value = identifier
    if kind != "ip":
        return value
    import ipaddress
    return ipaddress.ip_address(value).reverse_pointer
