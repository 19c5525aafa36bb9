"""How long a client may be silent, and how many files it may make.  The watchdog does no I/O."""

import itertools
import os

from ...common.errors import Error
from .loop import TICK

GRACE = 60               # seconds of silence granted beyond the announced waits
LONGEST = 3600           # seconds for a run, and in addition those for each of its orders
MORE_FILES = 100         # in the challenge directory than there are identifiers


class Watchdog:
    """The time limits of one client: moments are those of time.monotonic."""

    def __init__(self, now: float, timeout: int, requests: int, answer: int = 0) -> None:
        """``timeout``: seconds that an order may wait for the server; 0 is no limit.
        ``answer``: those that one answer may take; a request may need two, with its nonce."""
        self._timeout = timeout
        self.patience = timeout + 2 * answer + GRACE
        self._silent = now + self.patience
        self._end = now + LONGEST + self.patience * requests if timeout else float("inf")

    @property
    def deadline(self) -> float:
        """When the client is to be ended unless it is heard."""
        return min(self._silent, self._end)

    def heard(self, now: float, wait: int) -> None:
        """It wrote something, and announced to be silent for ``wait`` seconds."""
        if self._timeout:
            wait = min(wait, self._timeout)
        self._silent = max(self._silent, now + self.patience + wait)

    def overdue(self, now: float) -> str:
        """Return what is wrong with it, "" if nothing is."""
        if now >= self._end:
            return "the ACME client does not come to an end"
        if now >= self._silent:
            return f"the ACME client has been silent for {self.patience} seconds"
        return ""


class Crowd:
    """Watches the number of files in the challenge directory, which may lie in memory (/run)."""

    def __init__(self, directory: str, identifiers: int) -> None:
        """``directory`` "/" is none, and never watched."""
        self._directory = directory
        self._changed = 0
        self._next = 0.0
        self._most = MORE_FILES + identifiers
        if directory != "/":
            self._most += sum(1 for _ in os.scandir(directory))   # an administrator's

    def check(self, now: float) -> None:
        """Raise Error if the client makes files without end; looks five times a second."""
        if now < self._next or self._directory == "/":
            return
        self._next = now + TICK
        try:
            changed = os.stat(self._directory).st_mtime_ns
        except FileNotFoundError:   # it went with the web server
            return
        if changed != self._changed:
            self._changed = changed
            with os.scandir(self._directory) as entries:
                if sum(1 for _ in itertools.islice(entries, self._most + 1)) > self._most:
                    raise Error("the ACME client makes files without end")
