"""Which challenges are answered now: pure, no I/O.

A certificate answers one challenge, and a client says only the name that it validates (RFC 8737
§3).  So of several challenges of one name the others wait until the first is taken back.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from ..common.names import Identifier
from ..common.wire.responder import (MAX_WAIT, Answered, Challenge, Duty, Failed, Ready, Waits)

TYPE = "tls-alpn-01"
MAX_PRESENTED = 10000   # for one client

Who = TypeVar("Who")


class Presented(Generic[Who]):
    """Challenges by the name that is asked for, and who wants each of them presented."""

    def __init__(self, duty: Duty) -> None:
        self._duty = duty
        self._queues: dict[str, dict[tuple[Who, Challenge], None]] = {}   # the first is answered
        self._counts: dict[Who, int] = {}

    def find(self, name: str) -> Challenge | None:
        """Return the challenge that is answered to whoever asks for ``name``."""
        queue = self._queues.get(name)
        return next(iter(queue))[1] if queue else None

    def add(self, who: Who, about: Challenge) -> Answered:
        """Present a challenge; it may have been before."""
        why = self._duty.faults(about) if about.type == TYPE else f"only {TYPE} is done here"
        if why:
            return Failed(about, why)
        queue = self._queues.setdefault(server_name(about.identifier), {})
        if (who, about) not in queue:
            if self._counts.get(who, 0) >= MAX_PRESENTED:
                return Failed(about, f"more than {MAX_PRESENTED} challenges at a time")
            queue[who, about] = None
            self._counts[who] = self._counts.get(who, 0) + 1
        if next(iter(queue)) == (who, about):
            return Ready(about)
        return Waits(about, MAX_WAIT, "another challenge of that name is being validated")

    def remove(self, who: Who, about: Challenge) -> Iterator[tuple[Who, Ready]]:
        """Take a challenge back if it is there; yield whose is presented in its place."""
        name = server_name(about.identifier)
        queue = self._queues.get(name, {})
        if (who, about) not in queue:
            return
        was_first = next(iter(queue)) == (who, about)
        del queue[who, about]
        self._counts[who] -= 1
        if not queue:
            del self._queues[name]
        elif was_first:
            other, its = next(iter(queue))
            yield other, Ready(its)

    def remove_all(self, who: Who) -> Iterator[tuple[Who, Ready]]:
        """Take back all of one that has left; yield whose are presented in their place."""
        theirs = [about for queue in self._queues.values() for one, about in queue if one is who]
        for about in theirs:
            for other, ready in self.remove(who, about):
                if other is not who:
                    yield other, ready
        self._counts.pop(who, None)


def server_name(identifier: Identifier) -> str:
    """Return the name that a validation asks for: an address's is its reverse (RFC 8738 §6)."""
    kind, value = identifier
    if kind != "ip":
        return value
    import ipaddress
    return ipaddress.ip_address(value).reverse_pointer
