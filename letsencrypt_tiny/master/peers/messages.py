"""The pipes that carry the children's standard error to the administrator."""

import os
from collections.abc import Iterator

from ...common import log
from .loop import Loop

MAX_CHATTER = 256 << 10   # bytes that a child may write to its standard error
MAX_LINE = 8192           # bytes


class Messages:
    """All of them; each is a source of the loop's that makes no events."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._pipes: list[_Pipe] = []

    def pipe(self, name: str) -> int:
        """Return the writing end of a new pipe; its lines are relayed under ``name``."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        pipe = _Pipe(self._loop, reader, name)
        self._pipes.append(pipe)
        self._loop.add(pipe)
        return writer

    def drain(self) -> None:
        """Relay whatever is there, without waiting."""
        self._loop.drain(self._pipes)

    def close(self) -> None:
        """Relay whatever is left and close the pipes."""
        self.drain()
        while self._pipes:
            self._pipes.pop().close()


class _Pipe:
    """One of them."""

    def __init__(self, loop: Loop, reader: int, name: str) -> None:
        self._loop = loop
        self._reader = reader
        self._name = name
        self._buffer = bytearray()
        self._total = 0
        self._open = True

    def fileno(self) -> int:
        return self._reader

    def deadline(self) -> float:
        return float("inf")

    def expire(self) -> Iterator[object]:
        return iter(())

    def receive(self) -> Iterator[object]:
        """Relay what can be read; too much of it closes the pipe."""
        try:
            data = os.read(self._reader, 65536)
        except BlockingIOError:
            return iter(())
        self._buffer += data
        self._total += len(data)
        *lines, rest = bytes(self._buffer).split(b"\n")
        for line in lines if data else [*lines, rest]:
            if line.strip():   # ssh(1) ends its lines in CR
                log.relay(self._name, line.decode("utf-8", "replace").rstrip())
        self._buffer[:] = rest
        if data and (self._total > MAX_CHATTER or len(rest) > MAX_LINE):
            log.warning(f"{self._name} writes too much to standard error; the rest is dropped")
            data = b""
        if not data:
            self.close()
        return iter(())

    def close(self) -> None:
        """Listen no more; safe to call twice."""
        if self._open:
            self._open = False
            self._loop.remove(self)
            os.close(self._reader)
