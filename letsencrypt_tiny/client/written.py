"""What the master says of the orders that it was told of: whether they are written down.

It says it on the descriptor of the configuration.  Nothing here waits: a task asks, and yields.
"""

import os
import threading

from ..common import log
from ..common.errors import Error, ProtocolError
from ..common.wire.written import parse_written
from .scheduler import Steps

PAUSES = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1)   # seconds between two looks; the last one repeats
LIMIT = 120.0                                    # seconds: a master that installs takes its time


class Unwritten(Error):
    """The order is not finalized, as nobody would know of it after this run."""


class Written:
    """The master's lines, as far as they have come."""

    def __init__(self, descriptor: int = -1, begun: bytes = b"") -> None:
        """``descriptor`` doesn't block, -1: nobody tells anything; ``begun`` was read of it."""
        self._descriptor = descriptor
        self._buffer = begun
        self._kept: dict[tuple[str, str], bool] = {}
        self._lock = threading.Lock()

    def wait(self, section: str, url: str) -> Steps[None]:
        """Wait until the order at ``url`` is written down; raises Unwritten."""
        waited, tries = 0.0, 0
        while not self._is_written(section, url):
            if waited > LIMIT:
                raise Unwritten("the order is not finalized: the master does not say that it is "
                                "written down")
            pause = PAUSES[min(tries, len(PAUSES) - 1)]
            waited, tries = waited + pause, tries + 1
            yield pause

    def _is_written(self, section: str, url: str) -> bool:
        with self._lock:
            if (section, url) not in self._kept:
                self._read()
            kept = self._kept.get((section, url), self._descriptor < 0)
        if kept is False and (section, url) in self._kept:
            raise Unwritten("the order is not finalized, as it could not be written down")
        return kept

    def _read(self) -> None:
        """Take what is there.  Who is gone tells nothing any more."""
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, 65536)
            except BlockingIOError:
                break
            except OSError as exc:
                log.debug(f"the master's descriptor: {exc.strerror}")
                data = b""
            if not data:
                os.close(self._descriptor)
                self._descriptor = -1
            self._buffer += data
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            try:
                told = parse_written(line)
            except ProtocolError as exc:
                log.debug(exc)
                continue
            self._kept[told.section, told.url] = told.kept
