"""The one poll loop: whatever a child, a signer or the clock has to say comes out as an event.

A ``Source`` is what can be read; it makes events of what it reads.  Nothing here knows what
they mean, and no source calls back into whoever runs the loop.
"""

import select
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

TICK = 0.2   # seconds


class Tick(NamedTuple):
    """Time goes by: comes some times a second, and first of all."""

    now: float   # time.monotonic()


class Source(Protocol):
    """A descriptor, and what becomes of what can be read from it."""

    def fileno(self) -> int:
        """The descriptor to wait for."""

    def receive(self) -> Iterable[object]:
        """Read once what is there, without waiting; the events that it makes."""

    def deadline(self) -> float:
        """When its silence becomes too long (time.monotonic); infinity: never."""

    def expire(self) -> Iterable[object]:
        """The events of a silence that became too long."""


class Loop:
    """Sources, and the events that they make."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._sources: dict[int, Source] = {}

    def add(self, source: Source) -> None:
        """Listen to ``source`` from now on."""
        self._sources[source.fileno()] = source
        self._poll.register(source.fileno(), select.POLLIN)

    def remove(self, source: Source) -> None:
        """Listen to ``source`` no more; it may be none of ours (any more)."""
        if self._sources.get(source.fileno()) is source:   # the number may be another's by now
            del self._sources[source.fileno()]
            self._poll.unregister(source.fileno())

    def events(self, go_on: Callable[[], bool]) -> Iterator[object]:
        """Yield what happens as long as ``go_on()``; what a source raises comes out of here."""
        ticked = 0.0
        while go_on():
            now = time.monotonic()
            if now >= ticked + TICK:
                ticked = now
                yield Tick(now)
            due = ticked + TICK
            for source in list(self._sources.values()):
                deadline = source.deadline()
                if now >= deadline:
                    yield from source.expire()
                due = min(due, deadline)
            if go_on():
                yield from self._once(max(0.0, due - time.monotonic()))

    def _once(self, seconds: float) -> Iterator[object]:
        for descriptor, _ in self._poll.poll(seconds * 1000):
            source = self._sources.get(descriptor)
            if source is not None:   # it may have been removed for what another one said
                yield from source.receive()

    def drain(self, sources: Iterable[Source]) -> None:
        """Let ``sources`` receive whatever is there, without waiting."""
        for source in sources:
            while self._sources.get(source.fileno()) is source and _ready(source.fileno()):
                for _ in source.receive():
                    pass


def _ready(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
