"""Tells a client which of its orders are written down (``common/wire/written.py``)."""

import os

from ...common.wire.written import Written, format_written

MOST = 8 << 20   # bytes that wait; 20,000 orders take less


class Acknowledging:
    """A pipe to a client; nothing here waits for it."""

    def __init__(self, descriptor: int) -> None:
        """``descriptor`` doesn't block, and is closed by ``close``."""
        self._descriptor = descriptor
        self._left = b""
        self._said: dict[str, str] = {}   # section -> the URL that was said to be written down

    def say(self, section: str, url: str, kept: bool) -> None:
        """The order at ``url`` is written down, or can't be."""
        if self._descriptor < 0 or self._said.get(section) == url:
            return
        if kept:
            self._said[section] = url
        self._left += format_written(Written(section, url, kept))
        self.flush()
        if len(self._left) > MOST:   # it doesn't listen, and says ever more
            self.close()

    def flush(self) -> None:
        """Write what the pipe takes; the rest is for the next time."""
        while self._left and self._descriptor >= 0:
            try:
                self._left = self._left[os.write(self._descriptor, self._left):]
            except BlockingIOError:
                return
            except BrokenPipeError:   # it has ended, as its status will tell
                self.close()

    def close(self) -> None:
        """There is nothing more to be said; safe to call twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._left = -1, b""
